/** Times for people, in the zone of the browser or in UTC. No DOM. */

export type ClockZone = "local" | "utc";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

function parts(ms: number, zone: ClockZone): Parts {
  const at = new Date(ms);
  return zone === "utc"
    ? {
        year: at.getUTCFullYear(),
        month: at.getUTCMonth(),
        day: at.getUTCDate(),
        hour: at.getUTCHours(),
        minute: at.getUTCMinutes(),
        second: at.getUTCSeconds(),
      }
    : {
        year: at.getFullYear(),
        month: at.getMonth(),
        day: at.getDate(),
        hour: at.getHours(),
        minute: at.getMinutes(),
        second: at.getSeconds(),
      };
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/**
 * Return a time as short as the present allows: "12:04:05" today, "12 Nov 12:04" this year, "12 Nov 2025 12:04" before.
 */
export function shortTime(ms: number, zone: ClockZone, now: number): string {
  const at = parts(ms, zone);
  const today = parts(now, zone);
  const clock = `${two(at.hour)}:${two(at.minute)}`;
  if (at.year === today.year && at.month === today.month && at.day === today.day) return `${clock}:${two(at.second)}`;
  const date = `${at.day} ${MONTHS[at.month]}`;
  return at.year === today.year ? `${date} ${clock}` : `${date} ${at.year} ${clock}`;
}

/** Return a whole time with its zone: "2026-11-12 12:04:05 UTC". */
export function fullTime(ms: number, zone: ClockZone): string {
  const at = parts(ms, zone);
  const date = `${at.year}-${two(at.month + 1)}-${two(at.day)}`;
  return `${date} ${two(at.hour)}:${two(at.minute)}:${two(at.second)} ${zone === "utc" ? "UTC" : offset(ms)}`;
}

/** Return the distance of the browser's zone from UTC at a time: "UTC+01:00". */
function offset(ms: number): string {
  const minutes = -new Date(ms).getTimezoneOffset();
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

const STEPS: [number, string][] = [
  [86_400_000 * 365, "y"],
  [86_400_000 * 30, "mo"],
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "m"],
  [1000, "s"],
];

/** Return a time relative to the present: "3m ago", "in 2h", "now". */
export function relativeTime(ms: number, now: number): string {
  const away = Math.abs(now - ms);
  for (const [size, unit] of STEPS)
    if (away >= size) {
      const text = `${Math.floor(away / size)}${unit}`;
      return ms <= now ? `${text} ago` : `in ${text}`;
    }
  return "now";
}
