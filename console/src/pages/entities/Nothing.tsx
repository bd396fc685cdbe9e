import { setQuery } from "../../location.ts";
import type { View } from "../../model/entityRows.ts";
import type { Place } from "../../routes.ts";
import { Commands, Empty } from "../../ui/Empty.tsx";

/** An empty list: which filter to drop, or how to register something. */
export function Nothing({ what, view, place }: { what: string; view: View; place: Place }) {
  if (view.text) {
    return (
      <Empty title={`No ${what} match “${view.text}”`}>
        <button type="button" class="button" onClick={() => setQuery({ q: null })}>
          Show all
        </button>
      </Empty>
    );
  }
  if (view.archived) {
    return (
      <Empty title={`No archived ${what}`}>
        <button type="button" class="button" onClick={() => setQuery({ archived: null })}>
          Show those in use
        </button>
      </Empty>
    );
  }
  const target = `-p ${place.project} -d ${place.domain}`;
  return (
    <Empty title={`No ${what} yet`}>
      <p>Register some from a file of flytekit:</p>
      <Commands lines={[`pyflyte --config ~/.flyteadmin/config.yaml register ${target} examples/hello.py`]} />
    </Empty>
  );
}
