import { useRef, useState } from "preact/hooks";
import { ApiError } from "../../api/client.ts";

/** A change that a user asked for: it runs once at a time, and its refusal is shown where it was asked for. */
export interface Action {
  readonly running: boolean;
  readonly error: ApiError | undefined;
  /** Run the action. The result says whether it succeeded. */
  run(): Promise<boolean>;
}

/** Return an action for a component. */
export function useAction(act: () => Promise<void>): Action {
  const [state, setState] = useState<{ running: boolean; error: ApiError | undefined }>({
    running: false,
    error: undefined,
  });
  const busy = useRef(false);
  const run = async (): Promise<boolean> => {
    if (busy.current) return false;
    busy.current = true;
    setState({ running: true, error: undefined });
    try {
      await act();
      setState({ running: false, error: undefined });
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setState({ running: false, error });
      return false;
    } finally {
      busy.current = false;
    }
  };
  return { ...state, run };
}
