/** Notices of the engine about the environment of an attempt, such as an image that maps to none. */

/** Beginnings of the reasons that carry notices, each in a line of its own. */
const BEGINNINGS = ["task submitted\n", "waits for "];

/** Return the notices in the reasons of an attempt, each once. */
export function noticesOf(reasons: readonly { message?: string }[] | undefined): string[] {
  const lines = (reasons ?? [])
    .map((reason) => reason.message ?? "")
    .filter((message) => BEGINNINGS.some((beginning) => message.startsWith(beginning)))
    .flatMap((message) => message.split("\n").slice(1));
  return [...new Set(lines)].filter((line) => line !== "");
}
