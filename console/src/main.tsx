import { render } from "preact";
import { Page } from "./frame/Page.tsx";
import { startRouting } from "./location.ts";
import "./styles/index.css";

startRouting();
const target = document.getElementById("app");
if (target)
  render(
    <main>
      <Page />
    </main>,
    target,
  );
