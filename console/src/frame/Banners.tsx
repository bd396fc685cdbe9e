import { Notice } from "../ui/ErrorBox.tsx";
import { ended, loginAddress, offline } from "./session.ts";

/** What concerns every page: the server does not answer, the session ended. */
export function Banners() {
  return (
    <div class="banners" role="status">
      {offline.value && <Notice warning>The server does not answer. The page goes on as soon as it does.</Notice>}
      {ended.value && (
        <Notice warning>
          Your session has ended, so the page shows what it had. <a href={loginAddress()}>Sign in again</a>
        </Notice>
      )}
    </div>
  );
}
