/**
 * What the signed-in caller may do, so that pages disable an action before the server refuses it.
 * The page is this server's own: on another server, and without roles, nothing is disabled.
 */
import { signal } from "@preact/signals";
import { ApiError, address, request } from "../api/client.ts";
import { allows, type Grant, type NeedPlace, type Role, refusalText } from "../model/roles.ts";

/** The grants of the caller; null where everything is allowed, or not known yet. */
export const grants = signal<readonly Grant[] | null>(null);

/** Read the grants of the caller. */
export async function readRoles(): Promise<void> {
  try {
    const headers = { Accept: "application/json" };
    const options = { background: true, statuses: [404, 405, 501] };
    const reply = await request("roles", address("/api/v1/roles/mine"), { headers }, options);
    if (!reply.ok) return;
    const found = (await reply.json()) as { enabled?: boolean; grants?: Grant[] };
    grants.value = found.enabled ? (found.grants ?? []) : null;
  } catch (error) {
    // Without the roles nothing is disabled, and the server still refuses what a role forbids.
    if (!(error instanceof ApiError)) throw error;
  }
}

/** Return why the caller may not do what needs a role in a place; undefined where it is allowed. */
export function refusal(role: Role, place: NeedPlace): string | undefined {
  const known = grants.value;
  return known === null || allows(known, role, place) ? undefined : refusalText(role, place);
}
