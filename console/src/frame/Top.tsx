/** The bar at the top: place, sections, search, times, theme, help, user. */
import { useEffect, useRef } from "preact/hooks";
import { route } from "../location.ts";
import { links } from "../routes.ts";
import { type Theme, theme, type Zone, zone } from "../store.ts";
import { Icon, type IconName } from "../ui/Icon.tsx";
import { Menu } from "../ui/Menu.tsx";
import { helpOpen, openPalette } from "./open.ts";
import { PlaceSwitch } from "./PlaceSwitch.tsx";
import { place } from "./place.ts";
import { SECTIONS, sectionOf } from "./sections.ts";
import { loginAddress, logoutAddress, user } from "./session.ts";

const ZONES: readonly [Zone, string, string][] = [
  ["local", "Local", "Local time"],
  ["utc", "UTC", "UTC"],
  ["relative", "Relative", "Relative to now"],
];
const THEMES: readonly [Theme, string, IconName][] = [
  ["system", "As the system", "system"],
  ["light", "Light", "sun"],
  ["dark", "Dark", "moon"],
];

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

export function Top() {
  const here = place.value;
  const now = route.value;
  const section = sectionOf(now.page, "kind" in now ? now.kind : undefined);
  const lists = useRef<HTMLElement>(null);
  // On a narrow screen the lists scroll.
  useEffect(() => {
    lists.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [section]);
  return (
    <header class="top">
      <a class="brand" href={links.home()} aria-label="Flyte, home">
        <Mark />
      </a>
      <PlaceSwitch />
      {here && (
        <nav ref={lists} class="sections" aria-label="Lists">
          {SECTIONS.map(({ list, text }) => (
            <a key={list} href={links.list(here, list)} aria-current={section === list ? "page" : undefined}>
              {text}
            </a>
          ))}
        </nav>
      )}
      <div class="tools">
        <button type="button" class="button quiet search" aria-label="Search" onClick={openPalette}>
          <Icon name="search" />
          <span class="text">Search</span>
          <kbd aria-hidden="true">{isMac ? "⌘K" : "Ctrl K"}</kbd>
        </button>
        <ZoneMenu />
        <ThemeMenu />
        {here && (
          <a
            class="button quiet icon-only"
            href={links.list(here, "settings")}
            aria-current={section === "settings" ? "page" : undefined}
          >
            <Icon name="settings" label="Settings of the project" />
          </a>
        )}
        <button type="button" class="button quiet icon-only" onClick={() => (helpOpen.value = true)}>
          <Icon name="help" label="Help and keys" />
        </button>
        <UserMenu />
      </div>
    </header>
  );
}

function ZoneMenu() {
  const shown = ZONES.find(([key]) => key === zone.value)?.[1];
  return (
    <Menu
      class="button quiet zone"
      label={`Times: ${shown}`}
      button={
        <>
          <Icon name="clock" />
          <span class="text">{shown}</span>
        </>
      }
      items={ZONES.map(([key, , text]) => ({
        key,
        label: text,
        checked: zone.value === key,
        onSelect: () => (zone.value = key),
      }))}
    />
  );
}

function ThemeMenu() {
  const [, text, icon] = THEMES.find(([key]) => key === theme.value) ?? THEMES[0] ?? ["system", "", "system"];
  return (
    <Menu
      class="button quiet icon-only"
      label={`Theme: ${text}`}
      button={<Icon name={icon} />}
      items={THEMES.map(([key, label]) => ({
        key,
        label,
        checked: theme.value === key,
        onSelect: () => (theme.value = key),
      }))}
    />
  );
}

function UserMenu() {
  const who = user.value;
  if (who.state === "out")
    return (
      <a class="button" href={loginAddress()}>
        Sign in
      </a>
    );
  if (who.state !== "in") return null;
  return (
    <Menu
      class="button quiet icon-only"
      label={`Signed in as ${who.name}`}
      heading={who.name}
      button={<Icon name="user" />}
      items={[{ label: "Sign out", onSelect: () => window.location.assign(logoutAddress) }]}
    />
  );
}

function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
      <path d="M3 13c4-1 6-4 8-10 2 6 4 9 8 10-4 0-6.500 1.500-8 6-1.500-4.500-4-6-8-6z" fill="var(--accent)" />
    </svg>
  );
}
