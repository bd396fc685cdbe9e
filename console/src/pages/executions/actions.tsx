/** Actions on one or several executions: the bar of a selection, and the dialogs, which are loaded when one is opened. */
import { useEffect, useState } from "preact/hooks";
import { Guarded } from "../../frame/Guarded.tsx";
import { navigate } from "../../location.ts";
import { isTerminal } from "../../model/phases.ts";
import type { Run } from "../../model/runs.ts";
import { links, type Place } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import { copyText } from "../../ui/Copy.tsx";

export interface Act {
  kind: "terminate" | "archive" | "restore" | "recover";
  runs: readonly Run[];
}

type Dialogs = typeof import("../actions/index.tsx");

/** Compared are two to five executions. */
const COMPARED_MAX = 5;

/** The dialog of an action. */
export function Actions({
  place,
  act,
  onClose,
  onDone,
}: {
  place: Place;
  act: Act;
  onClose: () => void;
  onDone: () => void;
}) {
  const [dialogs, setDialogs] = useState<Dialogs | null>(null);
  useEffect(() => {
    if (act.runs.length === 0) {
      toast("None of these executions is running.");
      onClose();
      return;
    }
    import("../actions/index.tsx").then(setDialogs, () => {
      toast("The dialog cannot be loaded. Load the page again.", { failed: true });
      onClose();
    });
  }, []);
  const ids = act.runs.map((run) => ({ ...place, name: run.name }));
  const [first] = ids;
  if (!dialogs || !first) return null;
  switch (act.kind) {
    case "terminate":
      return <dialogs.TerminateDialog ids={ids} onClose={onClose} onDone={onDone} />;
    case "recover":
      return <dialogs.RecoverDialog id={first} onClose={onClose} />;
    default:
      return <dialogs.ArchiveDialog ids={ids} restore={act.kind === "restore"} onClose={onClose} onDone={onDone} />;
  }
}

/** Return the address that launches an execution again. */
export function relaunchAddress(place: Place, run: Run): string {
  const { kind, name, version } = run.entity;
  return links.launch(kind, place, name, { version, lp: run.launchPlan?.name, from: run.name });
}

interface SelectionBarProps {
  place: Place;
  runs: readonly Run[];
  onAct: (act: Act) => void;
  onClear: () => void;
}

/** What can be done with the selected rows. */
export function SelectionBar({ place, runs, onAct, onClear }: SelectionBarProps) {
  const names = runs.map((run) => run.name);
  const active = runs.filter((run) => !isTerminal(run.phase));
  const archived = runs.length > 0 && runs.every((run) => run.archived);
  const comparable = runs.length >= 2 && runs.length <= COMPARED_MAX;
  return (
    <div class="selection-bar" role="toolbar" aria-label="Selected executions">
      <strong>{runs.length} selected</strong>
      <Guarded
        need="run"
        place={place}
        class="button"
        disabled={active.length === 0}
        title={active.length === 0 ? "None of them is running" : undefined}
        onClick={() => onAct({ kind: "terminate", runs: active })}
      >
        Terminate{active.length > 0 && active.length < runs.length ? ` ${active.length}` : ""}…
      </Guarded>
      <Guarded
        need="run"
        place={place}
        class="button"
        onClick={() => onAct({ kind: archived ? "restore" : "archive", runs })}
      >
        {archived ? "Restore" : "Archive"}…
      </Guarded>
      <button
        type="button"
        class="button"
        disabled={!comparable}
        title={comparable ? undefined : `Choose 2 to ${COMPARED_MAX}`}
        onClick={() => navigate(links.compare(place, names))}
      >
        Compare
      </button>
      <button type="button" class="button" onClick={() => void copyText(names.join("\n"))}>
        Copy names
      </button>
      <button type="button" class="button quiet spread" onClick={onClear}>
        Clear
      </button>
    </div>
  );
}
