/** Who is signed in, and whether the server answers: what the banners of the frame show. */
import { signal } from "@preact/signals";
import { ApiError, api, onOutcome } from "../api/client.ts";
import { CONSOLE, NO_SIGN_IN, ROOT } from "../root.ts";
import { readRoles } from "./roles.ts";

export type User =
  | { state: "unknown" }
  /** The server has no authentication. */
  | { state: "none" }
  | { state: "out" }
  | { state: "in"; name: string; subject: string };

export const user = signal<User>({ state: "unknown" });

/** The session ended while the page was open. */
export const ended = signal(false);

/** The server gave no reply to the last call. */
export const offline = signal(false);

const TRIED = "flyte.signin";
const TRIED_MS = 20_000;

/** Return the address of the login, which leads back to a page of the console. */
export function loginAddress(target = window.location.pathname + window.location.search): string {
  return `${ROOT}/login?redirect_url=${encodeURIComponent(target)}`;
}

export const logoutAddress = `${ROOT}/logout?redirect_url=${encodeURIComponent(CONSOLE)}`;

/** Go to the login once; a login that leads back without a session must not begin again and again. */
function signIn(): void {
  const before = Number(sessionStorage.getItem(TRIED) ?? 0);
  if (Date.now() - before < TRIED_MS) {
    ended.value = true;
    return;
  }
  sessionStorage.setItem(TRIED, String(Date.now()));
  window.location.assign(loginAddress());
}

/** Follow the outcomes of calls, and ask who is signed in. */
export function startSession(): void {
  onOutcome(({ error, background }) => {
    offline.value = error?.status === 0;
    if (error?.status === 401) {
      if (user.peek().state === "in") user.value = { state: "out" };
      if (background) ended.value = true;
      else signIn();
    } else if (error === null && ended.peek() && user.peek().state === "out") void readUser();
  });
  void readUser();
}

/** Read who is signed in. 501 is a server without authentication, which is no error. */
async function readUser(): Promise<void> {
  if (NO_SIGN_IN) {
    user.value = { state: "none" };
    return;
  }
  try {
    const reply = await api("UserInfo", {}, { background: true });
    ended.value = false;
    user.value = reply.subject
      ? {
          state: "in",
          subject: reply.subject,
          name: reply.name || reply.preferred_username || reply.email || reply.subject,
        }
      : { state: "none" };
    if (reply.subject) void readRoles();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 501 || error.status === 404) user.value = { state: "none" };
    else if (error.status === 401) user.value = { state: "out" };
  }
}
