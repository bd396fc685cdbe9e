/** The deck of a node, in a frame that cannot reach the console. */
import { useState } from "preact/hooks";
import { api } from "../../api/client.ts";
import { useLive } from "../../api/live.ts";
import { isTerminal } from "../../model/phases.ts";
import type { RunNode } from "../../model/tree.ts";
import { Skeleton } from "../../ui/Empty.tsx";
import { isWebAddress } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { pathOf } from "./store.ts";

export function Deck({ node }: { node: RunNode }) {
  const { project, domain, name } = node.execution;
  const [round, setRound] = useState(0);
  const body = {
    artifact_type: "ARTIFACT_TYPE_DECK" as const,
    node_execution_id: { node_id: node.id, execution_id: pathOf(node.execution) },
  };
  const ended = isTerminal(node.phase);
  const live = useLive(`CreateDownloadLink ${project} ${domain} ${name} ${node.id} ${round} ${ended}`, (signal) =>
    api("CreateDownloadLink", { body }, { signal, background: true }),
  );
  const address = live.data?.pre_signed_urls?.signed_url?.[0] ?? live.data?.signed_url?.[0];
  if (live.error) {
    return (
      <p class="panel-text muted">
        {live.error.status === 404 && !ended ? "The task has written no deck yet." : live.error.message}{" "}
        <button type="button" class="button small" onClick={() => setRound(round + 1)}>
          Try again
        </button>
      </p>
    );
  }
  if (!address || !isWebAddress(address)) return <Skeleton />;
  return (
    <div class="deck">
      <div class="row deck-bar">
        <button type="button" class="button small" onClick={() => setRound(round + 1)}>
          <Icon name="refresh" /> Refresh
        </button>
        <a class="button small" href={address} target="_blank" rel="noopener noreferrer">
          <Icon name="external" /> Full window
        </a>
      </div>
      <iframe
        title={`Deck of ${node.name}`}
        src={address}
        sandbox="allow-scripts allow-popups allow-downloads"
        referrerpolicy="no-referrer"
      />
    </div>
  );
}
