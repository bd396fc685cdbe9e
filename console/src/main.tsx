import { render } from "preact";
import { Frame } from "./frame/Frame.tsx";
import { rememberPlace } from "./frame/place.ts";
import { startSession } from "./frame/session.ts";
import { startRouting } from "./location.ts";
import { startKeys } from "./ui/keys.ts";
import "./styles/index.css";

startRouting();
rememberPlace();
startSession();
startKeys();
const target = document.getElementById("app");
if (target) render(<Frame />, target);
