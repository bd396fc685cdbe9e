/** What all fields of one form share. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Draft } from "../../api/drafts.ts";
import type { Zone } from "../../api/instants.ts";
import type { Problem } from "../../api/literals.ts";
import type { Shape } from "../../api/shapes.ts";

/** State of an upload; `share` is between 0 and 1. */
export interface Upload {
  done: Promise<string>;
  cancel: () => void;
}

export interface FieldContext {
  zone: Zone;
  problems: Problem[];
  /** Upload files and return their address. Undefined where the form has no place for them. */
  upload?: (files: File[], folder: boolean, onShare: (share: number) => void) => Upload;
}

export const FormContext = createContext<FieldContext>({ zone: "utc", problems: [] });

export interface FieldProps<S extends Shape = Shape> {
  shape: S;
  draft: Draft;
  onChange: (draft: Draft) => void;
  /** Keys and indices from the top of the form. */
  path: string[];
  label: string;
  /** Id of the element that shows the problem, for `aria-describedby`. */
  describedBy: string;
  id: string;
  required: boolean;
}

/**
 * Return the messages of the problems at a path.
 *
 * @param deep - Whether problems below the path are included, each with the rest of its path. A control that shows a
 *   whole value as text is the only place for them.
 */
export function useProblems(path: string[], deep = false): string[] {
  const { problems } = useContext(FormContext);
  const found = problems.filter(
    (problem) =>
      (deep || problem.path.length === path.length) && path.every((part, index) => problem.path[index] === part),
  );
  return found.map((problem) => {
    const rest = problem.path.slice(path.length).join(".");
    return rest ? `${rest}: ${problem.message}` : problem.message;
  });
}

/** Return how many problems lie at the path or below it. */
export function useProblemCount(path: string[]): number {
  const { problems } = useContext(FormContext);
  return problems.filter((problem) => path.every((part, index) => problem.path[index] === part)).length;
}
