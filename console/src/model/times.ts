// Times and durations of replies, as numbers of milliseconds. No DOM.

/** Return an RFC 3339 time in milliseconds since 1970, with fractions; undefined without a valid one. */
export function timeMs(text: string | null | undefined): number | undefined {
  if (!text) return undefined;
  const whole = Date.parse(text);
  if (Number.isNaN(whole)) return undefined;
  const fraction = /\.\d{3}(\d{1,6})/.exec(text)?.[1];
  return fraction ? whole + Number(`0.${fraction}`) : whole;
}

/** Return a duration such as "1.5s" in milliseconds; undefined without a valid one. */
export function durationMs(text: string | null | undefined): number | undefined {
  const seconds = text ? /^(-?\d+(?:\.\d+)?)s$/.exec(text)?.[1] : undefined;
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}

/** Return a duration for people: "42 ms", "3.4s", "58s", "4m 10s", "2h 5m", "3d 4h". */
export function durationText(ms: number): string {
  if (ms < 0) return `-${durationText(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "m", whole % 60, "s");
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "m");
  const hours = Math.floor(minutes / 60);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(major: number, majorUnit: string, minor: number, minorUnit: string): string {
  return minor === 0 ? `${major}${majorUnit}` : `${major}${majorUnit} ${minor}${minorUnit}`;
}
