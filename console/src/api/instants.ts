/** Datetimes and durations as people type them, and as literals have them, to the nanosecond. */

export type Zone = "utc" | "local";

const DATETIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*(Z|UTC|[+-]\d{2}(?::?\d{2})?)?$/i;

/**
 * Return the instant in UTC as RFC 3339, or undefined where the text is no date and time.
 *
 * @param text - `2026-01-02`, `2026-01-02 03:04:05.678`, with `Z` or `+02:00` where wanted.
 * @param zone - The zone of a text that names none.
 */
export function parseDatetime(text: string, zone: Zone): string | undefined {
  const found = DATETIME.exec(text.trim());
  if (!found) return undefined;
  const part = (index: number): number => Number(found[index] ?? "0");
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)];
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 || year < 1) return undefined;
  const check = new Date(0);
  check.setUTCFullYear(year, month - 1, day);
  if (day < 1 || check.getUTCDate() !== day) return undefined;
  let seconds: number;
  if (found[8] === undefined && zone === "local") {
    const local = new Date(2000, 0, 1, hour, minute, second);
    local.setFullYear(year, month - 1, day);
    seconds = Math.floor(local.getTime() / 1000);
  } else {
    check.setUTCHours(hour, minute, second);
    seconds = Math.floor(check.getTime() / 1000) - offsetSeconds(found[8] ?? "Z");
  }
  const whole = new Date(seconds * 1000);
  if (whole.getUTCFullYear() < 1 || whole.getUTCFullYear() > 9999) return undefined;
  const fraction = (found[7] ?? "").replace(/0+$/, "");
  return `${whole.toISOString().slice(0, 19)}${fraction && `.${fraction}`}Z`;
}

function offsetSeconds(text: string): number {
  const found = /^([+-])(\d{2}):?(\d{2})?$/.exec(text);
  if (!found) return 0;
  const seconds = (Number(found[2]) * 60 + Number(found[3] ?? "0")) * 60;
  return found[1] === "-" ? -seconds : seconds;
}

/** Return an RFC 3339 instant as text in a zone: `2026-01-02 03:04:05.678 +02:00`. */
export function showDatetime(instant: string, zone: Zone): string {
  const found = /^(.{10})T(.{8})(\.\d+)?Z$/.exec(instant);
  if (!found) return instant;
  const fraction = (found[3] ?? "").replace(/\.?0+$/, "");
  if (zone === "utc") return `${found[1]} ${found[2]}${fraction} UTC`;
  const date = new Date(`${found[1]}T${found[2]}Z`);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${String(date.getFullYear()).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${fraction}`;
  const offset = -date.getTimezoneOffset();
  const size = Math.abs(offset);
  return `${day} ${time} ${offset < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

const SECOND = 1_000_000_000n;
const UNITS: ReadonlyArray<readonly [RegExp, bigint]> = [
  [/^(?:w|weeks?)$/i, 604_800n * SECOND],
  [/^(?:d|days?)$/i, 86_400n * SECOND],
  [/^(?:h|hours?)$/i, 3_600n * SECOND],
  [/^(?:m|min|minutes?)$/i, 60n * SECOND],
  [/^(?:s|sec|seconds?)$/i, SECOND],
  [/^ms$/i, 1_000_000n],
  [/^(?:us|µs)$/i, 1_000n],
  [/^ns$/i, 1n],
];
/** Protobuf's limit: 10,000 years. */
const DURATION_SECONDS_MAX = 315_576_000_000n;

/** Return nanoseconds of a decimal number of units; undefined where a fraction is finer than that. */
function scaled(text: string, unit: bigint): bigint | undefined {
  const [whole = "", fraction = ""] = text.split(".");
  const scale = 10n ** BigInt(fraction.length);
  const amount = BigInt(`${whole}${fraction}`) * unit;
  return amount % scale === 0n ? amount / scale : undefined;
}

function nanoseconds(text: string): bigint | undefined {
  const iso = /^P(?=[\dT])(?:([\d.]+)W)?(?:([\d.]+)D)?(?:T(?=\d)(?:([\d.]+)H)?(?:([\d.]+)M)?(?:([\d.]+)S)?)?$/i.exec(
    text,
  );
  const parts: Array<[string, string]> = [];
  if (iso) {
    for (const [index, unit] of ["w", "d", "h", "m", "s"].entries()) {
      const amount = iso[index + 1];
      if (amount !== undefined) parts.push([amount, unit]);
    }
  } else {
    const words = /^(?:\d+(?:\.\d+)?\s*[a-zµ]+\s*)+$/i;
    if (!words.test(text)) return undefined;
    for (const found of text.matchAll(/(\d+(?:\.\d+)?)\s*([a-zµ]+)/gi)) parts.push([found[1] ?? "", found[2] ?? ""]);
  }
  let sum = 0n;
  for (const [amount, name] of parts) {
    const unit = UNITS.find(([pattern]) => pattern.test(name))?.[1];
    const part = unit !== undefined && /^\d+(\.\d+)?$/.test(amount) ? scaled(amount, unit) : undefined;
    if (part === undefined) return undefined;
    sum += part;
  }
  return sum;
}

/**
 * Return a duration as protobuf's JSON has it (`3720.5s`), or undefined where the text is none.
 *
 * @param text - `1h 2m`, `90s`, `1.5 days`, `-250ms` or ISO 8601 (`PT1H2M`).
 */
export function parseDuration(text: string): string | undefined {
  const found = /^([+-]?)\s*(.+)$/s.exec(text.trim());
  const size = found ? nanoseconds((found[2] ?? "").trim()) : undefined;
  if (found === null || size === undefined || size > DURATION_SECONDS_MAX * SECOND) return undefined;
  const fraction = (size % SECOND).toString().padStart(9, "0").replace(/0+$/, "");
  const sign = found[1] === "-" && size > 0n ? "-" : "";
  return `${sign}${size / SECOND}${fraction && `.${fraction}`}s`;
}

/** Return protobuf's `3720.5s` as `1h 2m 0.5s`. */
export function showDuration(duration: string): string {
  const found = /^(-?)(\d+)(?:\.(\d{1,9}))?s$/.exec(duration);
  if (!found) return duration;
  let seconds = BigInt(found[2] ?? "0");
  const fraction = (found[3] ?? "").replace(/0+$/, "");
  const parts: string[] = [];
  for (const [unit, size] of [
    ["d", 86_400n],
    ["h", 3_600n],
    ["m", 60n],
  ] as const) {
    if (seconds >= size) parts.push(`${seconds / size}${unit}`);
    seconds %= size;
  }
  if (seconds > 0n || fraction || parts.length === 0) parts.push(`${seconds}${fraction && `.${fraction}`}s`);
  return `${found[1]}${parts.join(" ")}`;
}
