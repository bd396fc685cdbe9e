// The arms of a branch node, with their conditions as text, and the arm that ran. No DOM.

import type { BooleanExpression, IfElseBlock, Node, Operand } from "./api.ts";

/** One arm of a branch: a condition and the node that runs where it is the first true one. */
export interface Arm {
  /** "if x > 100", "else if …" or "else". */
  readonly condition: string;
  /** The node of the arm; undefined for an arm that fails the branch. */
  readonly node: Node | undefined;
  /** The message of an arm that fails the branch. */
  readonly failure: string | undefined;
}

const OPERATORS: Readonly<Record<string, string>> = { EQ: "=", NEQ: "≠", GT: ">", GTE: "≥", LT: "<", LTE: "≤" };

/** Return the arms of a branch node in the order in which their conditions are tried. */
export function armsOf(node: Node): Arm[] {
  const block: IfElseBlock = node.branch_node?.if_else ?? {};
  const cases = block.case ? [block.case, ...(block.other ?? [])] : (block.other ?? []);
  const arms: Arm[] = cases.map((one, index) => ({
    condition: `${index === 0 ? "if" : "else if"} ${expressionText(one.condition)}`,
    node: one.then_node ?? undefined,
    failure: undefined,
  }));
  if (block.else_node) arms.push({ condition: "else", node: block.else_node, failure: undefined });
  else if (block.error) arms.push({ condition: "else", node: undefined, failure: block.error.message ?? "" });
  return arms;
}

/** Return a condition as text, such as "n3.o0 > 100 and n3.o0 ≤ 1000". */
export function expressionText(expression: BooleanExpression | null | undefined): string {
  if (expression?.comparison) {
    const { operator, left_value, right_value } = expression.comparison;
    return `${operandText(left_value)} ${OPERATORS[operator ?? ""] ?? operator ?? "?"} ${operandText(right_value)}`;
  }
  if (expression?.conjunction) {
    const { operator, left_expression, right_expression } = expression.conjunction;
    return `${grouped(left_expression)} ${operator === "OR" ? "or" : "and"} ${grouped(right_expression)}`;
  }
  return "?";
}

/** Return the names of the values that a condition reads. */
export function variablesOf(expression: BooleanExpression | null | undefined): string[] {
  const found = new Set<string>();
  const visit = (one: BooleanExpression | null | undefined): void => {
    for (const operand of [one?.comparison?.left_value, one?.comparison?.right_value]) {
      if (operand?.var) found.add(operand.var);
    }
    if (one?.conjunction) {
      visit(one.conjunction.left_expression);
      visit(one.conjunction.right_expression);
    }
  };
  visit(expression);
  return [...found];
}

function grouped(expression: BooleanExpression | null | undefined): string {
  return expression?.conjunction ? `(${expressionText(expression)})` : expressionText(expression);
}

function operandText(operand: Operand | null | undefined): string {
  if (operand?.var) return variableText(operand.var);
  const primitive = operand?.primitive ?? operand?.scalar?.primitive;
  if (operand?.scalar && "none_type" in operand.scalar) return "none";
  for (const value of Object.values(primitive ?? {})) {
    if (value !== null && value !== undefined)
      return typeof value === "string" ? quoted(primitive, value) : String(value);
  }
  return "?";
}

/** Return the name of a value: flytekit writes ".x" for the input x of the workflow. */
export function variableText(name: string): string {
  return name.startsWith(".") ? name.slice(1) : name;
}

/** Quote strings; integers, times and durations are strings in JSON, too, and stay bare. */
function quoted(primitive: object | undefined, value: string): string {
  return primitive && "string_value" in primitive ? JSON.stringify(value) : value;
}
