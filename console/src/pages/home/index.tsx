/** The first page: what failed and what runs in the project that was used last; without one, the projects. */
import { useEffect } from "preact/hooks";
import { api } from "../../api/client.ts";
import { refresh, useLive } from "../../api/live.ts";
import { place as placeOf } from "../../frame/place.ts";
import { viewsOf } from "../../frame/views.ts";
import { dayOf, type FailureGroup } from "../../model/day.ts";
import { GROUPS, groupLabel, isTerminal, type PhaseGroup } from "../../model/phases.ts";
import { type Run, runOf } from "../../model/runs.ts";
import { links, type PageProps, type Place } from "../../routes.ts";
import { Commands, Empty, Skeleton } from "../../ui/Empty.tsx";
import { ErrorBox, Notice } from "../../ui/ErrorBox.tsx";
import { firstCommands } from "../../ui/firstSteps.ts";
import { Icon } from "../../ui/Icon.tsx";
import { Phase, PhaseIcon } from "../../ui/Phase.tsx";
import { Duration, Time } from "../../ui/Time.tsx";
import ProjectsPage from "../projects/index.tsx";
import "./style.css";

const DAY_MS = 86_400_000;
/** The newest executions that are summed up. */
const RUNS_MAX = 500;
const SHOWN_MAX = 8;
const ACTIVE_MS = 5000;
const QUIET_MS = 30_000;
/** Words of filters where they differ from the group's name. */
const WORDS: Partial<Record<PhaseGroup, string>> = { waiting: "queued" };

export default function HomePage({ unknown }: PageProps<"home">) {
  const place = placeOf.value;
  useEffect(() => {
    document.title = "Flyte";
  }, []);
  return (
    <div class="stack home">
      {unknown !== undefined && (
        <Notice warning>
          The console has no page at the address <code>{unknown}</code>. This is the first page.
        </Notice>
      )}
      {place ? <Today key={`${place.project}/${place.domain}`} place={place} /> : <ProjectsPage page="projects" />}
    </div>
  );
}

function Today({ place }: { place: Place }) {
  const key = `ListExecutions ${place.project} ${place.domain} day`;
  const { data, error } = useLive<readonly Run[]>(
    key,
    async (signal, _, background) => {
      const reply = await api(
        "ListExecutions",
        {
          path: { ...place },
          query: { limit: RUNS_MAX, "sort_by.key": "created_at", "sort_by.direction": "DESCENDING" },
        },
        { signal, background },
      );
      return (reply.executions ?? []).map(runOf);
    },
    (runs) => (runs.some((run) => !isTerminal(run.phase)) ? ACTIVE_MS : QUIET_MS),
  );
  const since = Date.now() - DAY_MS;
  const recent = data?.filter((run) => run.createdMs >= since || !isTerminal(run.phase)) ?? [];
  const day = dayOf(recent);
  const views = viewsOf(place);
  return (
    <>
      <div class="page-head">
        <h1>
          {place.project} / {place.domain}
        </h1>
        <div class="actions">
          {views.map((view) => (
            <a key={view.name} class="button" href={links.executions(place, { q: view.q })}>
              <Icon name="star" /> {view.name}
            </a>
          ))}
          <a class="button" href={links.executions(place)}>
            All executions
          </a>
        </div>
      </div>
      {error && <ErrorBox error={error} onRetry={() => refresh(key)} />}
      {!data && !error && <Skeleton />}
      {data && data.length === 0 && (
        <Empty title="Nothing has run here yet">
          <p>
            Run the example from a terminal. <code>make run</code> prints the first line with all paths, and pyflyte
            prints a link to the execution.
          </p>
          <Commands lines={firstCommands(place)} />
        </Empty>
      )}
      {data && data.length > 0 && (
        <>
          <Counts place={place} counts={day.counts} whole={recent.length < RUNS_MAX} />
          <div class="home-columns">
            <Failures place={place} failures={day.failures} />
            <Active place={place} runs={day.active} />
          </div>
        </>
      )}
    </>
  );
}

function Counts({ place, counts, whole }: { place: Place; counts: Map<PhaseGroup, number>; whole: boolean }) {
  const shown = GROUPS.filter((group) => counts.get(group));
  return (
    <p class="row home-counts">
      <span class="muted">{whole ? "Last 24 hours:" : `Newest ${RUNS_MAX} of the last 24 hours:`}</span>
      {shown.map((group) => (
        <a
          key={group}
          class={`phase pill phase-${group}`}
          href={links.executions(place, { q: `phase:${WORDS[group] ?? group} after:24h` })}
        >
          <PhaseIcon group={group} />
          {counts.get(group)} {groupLabel(group)}
        </a>
      ))}
      {shown.length === 0 && <span class="muted">nothing ran</span>}
    </p>
  );
}

function Failures({ place, failures }: { place: Place; failures: readonly FailureGroup[] }) {
  return (
    <section class="card">
      <header>
        <h2>Failures of the day</h2>
        <a class="spread small" href={links.executions(place, { q: "phase:failed after:24h" })}>
          Show all
        </a>
      </header>
      {failures.length === 0 && <p class="home-none muted">Nothing failed in the last 24 hours.</p>}
      <ul class="home-list">
        {failures.slice(0, SHOWN_MAX).map((failure) => (
          <li key={failure.last.name}>
            <div class="row">
              <Phase phase={failure.last.phase} compact />
              <a class="main" href={links.execution(place, failure.last.name)}>
                {failure.entity.name}
              </a>
              {failure.count > 1 && (
                <a
                  class="chip"
                  href={links.executions(place, {
                    q: `phase:failed ${failure.entity.kind}:=${failure.entity.name} after:24h`,
                  })}
                >
                  {failure.count} times
                </a>
              )}
              <span class="spread muted small">
                <Time at={failure.last.createdMs} relative />
              </span>
            </div>
            <p class="home-cause phase-failed">{failure.cause || "no message"}</p>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Active({ place, runs }: { place: Place; runs: readonly Run[] }) {
  return (
    <section class="card">
      <header>
        <h2>Running now</h2>
        <a class="spread small" href={links.executions(place, { q: "phase:running,queued" })}>
          Show all
        </a>
      </header>
      {runs.length === 0 && <p class="home-none muted">Nothing is running.</p>}
      <ul class="home-list">
        {runs.slice(0, SHOWN_MAX).map((run) => (
          <li key={run.name}>
            <div class="row">
              <Phase phase={run.phase} compact />
              <a class="main" href={links.execution(place, run.name)}>
                {run.entity.name}
              </a>
              <span class="muted mono small ellipsis">{run.name}</span>
              <span class="spread">
                <Duration from={run.startedAt} />
              </span>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
