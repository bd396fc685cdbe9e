/** The project and domain, as a button that opens a searchable list of all of them. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { navigate, route } from "../location.ts";
import { links, type Place } from "../routes.ts";
import { Combobox, type Option } from "../ui/Combobox.tsx";
import { Icon } from "../ui/Icon.tsx";
import { placePopup } from "../ui/Menu.tsx";
import { place } from "./place.ts";
import { useProjects } from "./projects.ts";
import { sectionOf } from "./sections.ts";

const SHOWN_MAX = 50;

/** Return the address of the same list in another place. */
export function samePage(there: Place): string {
  const now = route.value;
  const section = sectionOf(now.page, "kind" in now ? now.kind : undefined);
  return section ? links.list(there, section) : links.executions(there);
}

export function PlaceSwitch() {
  const { data: projects } = useProjects();
  const popup = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const here = place.value;
  const words = text
    .toLowerCase()
    .split(/[\s/]+/)
    .filter(Boolean);
  const all: (Place & { name: string })[] = (projects ?? []).flatMap((project) =>
    (project.domains ?? []).map((domain) => ({
      project: project.id ?? "",
      domain: domain.id ?? "",
      name: project.name ?? "",
    })),
  );
  const found = all.filter((one) => {
    const searched = `${one.project} ${one.domain} ${one.name}`.toLowerCase();
    return words.every((word) => searched.includes(word));
  });
  const options: Option[] = found.slice(0, SHOWN_MAX).map((one) => ({
    value: `${one.project}/${one.domain}`,
    label: `${one.project} / ${one.domain}`,
    detail: one.name !== one.project ? one.name : undefined,
  }));
  useLayoutEffect(() => {
    if (!open || !popup.current || !opener.current) return;
    placePopup(popup.current, opener.current);
    popup.current.querySelector("input")?.focus();
  }, [open]);
  const pick = (value: string) => {
    popup.current?.hidePopover();
    opener.current?.focus();
    const [project = "", domain = ""] = value.split("/");
    navigate(samePage({ project, domain }));
  };
  return (
    <>
      <button
        ref={opener}
        type="button"
        class="button quiet place"
        aria-haspopup="dialog"
        aria-expanded={open}
        onClick={() => (open ? popup.current?.hidePopover() : popup.current?.showPopover())}
      >
        <span class="ellipsis">{here ? `${here.project} / ${here.domain}` : "Choose a project"}</span>
        <Icon name="chevron-down" size={12} />
      </button>
      <div
        ref={popup}
        popover="auto"
        role="dialog"
        aria-label="Project and domain"
        class="popup place-popup"
        onToggle={(event) => {
          setOpen(event.newState === "open");
          setText("");
        }}
      >
        {open && (
          <>
            <Combobox
              label="Search projects"
              placeholder="Search projects"
              value={text}
              onInput={setText}
              options={options}
              always
              onPick={pick}
              note={found.length > SHOWN_MAX ? `${found.length - SHOWN_MAX} more: type to find them` : undefined}
            />
            <a href={links.projects()} class="all-projects" onClick={() => popup.current?.hidePopover()}>
              All projects
            </a>
          </>
        )}
      </div>
    </>
  );
}
