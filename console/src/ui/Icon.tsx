/** Icons of 16 × 16, drawn with lines in the colour of the text. */

const PATHS = {
  archive: "M2 3h12v3H2zM3 6v7h10V6M6.5 9h3",
  bell: "M4 11V7a4 4 0 0 1 8 0v4l1 1H3zM6.5 14h3",
  calendar: "M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 2v3M10.5 2v3",
  check: "M3 8.5 6.5 12 13 4.5",
  "chevron-down": "M4 6l4 4 4-4",
  "chevron-left": "M10 4 6 8l4 4",
  "chevron-right": "M6 4l4 4-4 4",
  "chevron-up": "M4 10l4-4 4 4",
  clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 5v3.5l2.5 1.5",
  compare: "M5 2v12M11 2v12M2 5h3M11 11h3M2 9h3M11 7h3",
  copy: "M5.5 5.5h8v8h-8zM3 10.5H2.5v-8h8V3",
  cross: "M4 4l8 8M12 4l-8 8",
  deck: "M2.5 2.5h11v11h-11zM5 10.5v-2M8 10.5v-5M11 10.5v-3",
  dots: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  download: "M8 2v8M4.5 7 8 10.5 11.5 7M3 13.5h10",
  edit: "M3 13l1-3 7-7 2 2-7 7zM9.5 4.5l2 2",
  external: "M6 3H3v10h10v-3M9 3h4v4M13 3 7.5 8.5",
  filter: "M2.5 3h11L9.5 8v5l-3-1.5V8z",
  graph: "M6 2.5h4v3H6zM2 10.5h4v3H2zM10 10.5h4v3h-4zM8 5.5V8M4 10.5V8h8v2.5",
  grid: "M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 9.5h4v4h-4z",
  help: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M6.3 6.4a1.8 1.8 0 1 1 2.6 1.6c-.6.3-.9.6-.9 1.3M8 11.5h.01",
  home: "M2.5 8 8 3l5.5 5M4 7v6.5h8V7M6.5 13.5V10h3v3.5",
  info: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 7.5v3.5M8 5h.01",
  key: "M10 6a2.5 2.5 0 1 1-1 2L4 13H2.5v-2L7.5 6",
  link: "M6.5 9.5l3-3M7.5 4.5 9 3a2.8 2.8 0 0 1 4 4l-1.5 1.5M8.5 11.5 7 13a2.8 2.8 0 0 1-4-4l1.5-1.5",
  list: "M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.01M2.5 8h.01M2.5 12h.01",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  minus: "M3 8h10",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3l8 5-8 5z",
  plus: "M8 3v10M3 8h10",
  refresh: "M13 8a5 5 0 1 1-1.5-3.5L13 6M13 2.5V6H9.5",
  rocket: "M3 13l2-4 6.5-6.5 2-.5-.5 2L6.5 10.5zM9 4.5 11.5 7",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.5 10.5l3 3",
  settings: "M2.5 4.5h6M11.5 4.5h2M2.5 11.5h2M7.5 11.5h6M10 3v3M6 10v3",
  skip: "M3 4l5 4-5 4zM9 4l5 4-5 4z",
  star: "M8 2.5l1.7 3.5 3.8.5-2.8 2.6.7 3.8L8 11.1l-3.4 1.8.7-3.8L2.5 6.5l3.8-.5z",
  stop: "M4 4h8v8H4z",
  sun: "M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  system: "M2 3.5h12v7.5H2zM6 13.5h4",
  tag: "M2.5 2.5H8L13.5 8 8 13.5 2.5 8zM5 5h.01",
  task: "M2.5 3.5h11v9h-11zM5 6.5l1.5 1.5L5 9.5M8.5 10h2.5",
  user: "M8 2.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5M3 13.5c0-2.5 2-4 5-4s5 1.5 5 4",
  warning: "M8 2.5 14 13H2zM8 6.5v3M8 11.2h.01",
} as const;

export type IconName = keyof typeof PATHS;

/** Draw an icon. Without `label` it is decoration, hidden from screen readers. */
export function Icon({ name, label, size = 16 }: { name: IconName; label?: string; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" })}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
