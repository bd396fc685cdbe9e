import { ApiError } from "../../api/client.ts";
import { setArchived } from "../../api/entities.ts";
import { refreshAll } from "../../api/live.ts";
import type { EntityKind, Place } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";

/** Archive a name or take it out of the archive; the message offers to undo it. */
export async function archive(kind: EntityKind, place: Place, name: string, archived: boolean): Promise<void> {
  try {
    await setArchived(kind, place, name, archived);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(`${name} was not changed: ${error.message}`, { failed: true });
    return;
  }
  refreshAll("ListNamedEntities");
  refreshAll("GetNamedEntity");
  toast(archived ? `Archived ${name}` : `Took ${name} out of the archive`, {
    action: { label: "Undo", run: () => void archive(kind, place, name, !archived) },
  });
}
