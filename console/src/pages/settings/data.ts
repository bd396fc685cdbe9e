/** Reads and writes matchable attributes at their three levels. */

import { ApiError, api } from "../../api/client.ts";
import type { Configuration, MatchingAttributes, ResourceType } from "../../model/attributes.ts";

/** Where an override holds. */
export interface Scope {
  project: string;
  domain?: string | undefined;
  workflow?: string | undefined;
}

/**
 * Read the overrides of one resource type. One call; without the right to list all projects, the project's and domain's
 * own ones.
 */
export async function readAttributes(
  type: ResourceType,
  project: string,
  domain: string,
  signal: AbortSignal,
): Promise<Configuration[]> {
  try {
    const reply = await api("ListMatchableAttributes", { query: { resource_type: type } }, { signal });
    return reply.configurations ?? [];
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
  }
  const query = { resource_type: type };
  const [ofProject, ofDomain] = await Promise.all([
    orNothing(api("GetProjectAttributes", { path: { project }, query }, { signal })),
    orNothing(api("GetProjectDomainAttributes", { path: { project, domain }, query }, { signal })),
  ]);
  const found: Configuration[] = [];
  if (ofProject?.attributes) found.push({ project, attributes: ofProject.attributes.matching_attributes ?? {} });
  if (ofDomain?.attributes) found.push({ project, domain, attributes: ofDomain.attributes.matching_attributes ?? {} });
  return found;
}

/** A level without an override answers 404. */
async function orNothing<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export async function writeAttributes(scope: Scope, matching_attributes: MatchingAttributes): Promise<void> {
  const { project, domain, workflow } = scope;
  if (domain && workflow) {
    const body = { attributes: { project, domain, workflow, matching_attributes } };
    await api("UpdateWorkflowAttributes", { path: { project, domain, workflow }, body });
  } else if (domain) {
    const body = { attributes: { project, domain, matching_attributes } };
    await api("UpdateProjectDomainAttributes", { path: { project, domain }, body });
  } else {
    await api("UpdateProjectAttributes", { path: { project }, body: { attributes: { project, matching_attributes } } });
  }
}

export async function deleteAttributes(scope: Scope, resource_type: ResourceType): Promise<void> {
  const { project, domain, workflow } = scope;
  const body = { resource_type };
  if (domain && workflow) await api("DeleteWorkflowAttributes", { path: { project, domain, workflow }, body });
  else if (domain) await api("DeleteProjectDomainAttributes", { path: { project, domain }, body });
  else await api("DeleteProjectAttributes", { path: { project }, body });
}
