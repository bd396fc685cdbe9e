/** Prefix of a proxy in front of the server, such as `/flyte`; "" without one. The server writes it into index.html. */
export const ROOT: string =
  typeof document === "undefined"
    ? ""
    : (document.querySelector<HTMLMetaElement>('meta[name="flyte-root"]')?.content ?? "");

/** Address of the console's first page. */
export const CONSOLE = `${ROOT}/console`;
