// Short names of the API's messages that the models of an execution read. Types only.

import type { components } from "../api/types.d.ts";

type Schemas = components["schemas"];

export type ArrayNode = Schemas["core.ArrayNode"];
export type BooleanExpression = Schemas["core.BooleanExpression"];
export type CompiledWorkflow = Schemas["core.CompiledWorkflow"];
export type CompiledWorkflowClosure = Schemas["core.CompiledWorkflowClosure"];
export type ConnectionSet = Schemas["core.ConnectionSet"];
export type Execution = Schemas["admin.Execution"];
export type ExternalResource = Schemas["event.ExternalResourceInfo"];
export type Identifier = Schemas["core.Identifier"];
export type IfElseBlock = Schemas["core.IfElseBlock"];
export type Node = Schemas["core.Node"];
export type NodeExecution = Schemas["admin.NodeExecution"];
export type Operand = Schemas["core.Operand"];
export type Span = Schemas["core.Span"];
export type TaskExecution = Schemas["admin.TaskExecution"];
export type TaskTemplate = Schemas["core.TaskTemplate"];
export type WorkflowTemplate = Schemas["core.WorkflowTemplate"];
