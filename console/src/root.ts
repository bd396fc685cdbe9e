/** What the server writes into index.html. */
function written(name: string): string {
  if (typeof document === "undefined") return "";
  return document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content ?? "";
}

/** Prefix of a proxy in front of the server, such as `/flyte`; "" without one. */
export const ROOT = written("flyte-root");

/** Address of the console's first page. */
export const CONSOLE = `${ROOT}/console`;

/** Whether the server has no authentication; where it does not say so, `/me` has to be asked. */
export const NO_SIGN_IN = written("flyte-sign-in") === "off";
