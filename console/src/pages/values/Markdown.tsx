/** Markdown as elements: HTML in it is text, links lead to http(s) only, images are links. */

import type { Token, Tokens } from "marked";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { DataLink } from "../../ui/Fields.tsx";
import { DataTable } from "./DataTable.tsx";

export function Markdown({ text }: { text: string }) {
  const [tokens, setTokens] = useState<Token[] | null>(null);
  useEffect(() => {
    let current = true;
    void import("marked").then(({ lexer }) => current && setTokens(lexer(text)));
    return () => {
      current = false;
    };
  }, [text]);
  if (!tokens) return <pre class="preview-text">{text}</pre>;
  return <div class="markdown">{blocks(tokens)}</div>;
}

function blocks(tokens: Token[]): ComponentChildren[] {
  return tokens.map((token, index) => <Block key={index} token={token} />);
}

function Block({ token }: { token: Token }) {
  switch (token.type) {
    case "heading": {
      // The page has headings of its own; those of a file are below them.
      const { depth } = token as Tokens.Heading;
      const Tag = depth === 1 ? "h4" : depth === 2 ? "h5" : "h6";
      return <Tag class={`md-h${depth}`}>{inline(token.tokens)}</Tag>;
    }
    case "paragraph":
      return <p>{inline(token.tokens)}</p>;
    case "text":
      return token.tokens ? <p>{inline(token.tokens)}</p> : <p>{decoded(token.text)}</p>;
    case "code":
      return <pre class="preview-text">{token.text}</pre>;
    case "blockquote":
      return <blockquote>{blocks(token.tokens ?? [])}</blockquote>;
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item, index) => <li key={index}>{blocks(item.tokens)}</li>);
      return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
    }
    case "table": {
      const table = token as Tokens.Table;
      const cell = (one: Tokens.TableCell): string => decoded(one.text);
      return <DataTable head={table.header.map(cell)} rows={table.rows.map((row) => row.map(cell))} note="" />;
    }
    case "hr":
      return <hr />;
    case "space":
      return null;
    default:
      return <pre class="preview-text">{token.raw}</pre>;
  }
}

function inline(tokens: Token[] | undefined): ComponentChildren[] {
  return (tokens ?? []).map((token, index) => <Inline key={index} token={token} />);
}

function Inline({ token }: { token: Token }) {
  switch (token.type) {
    case "strong":
      return <strong>{inline(token.tokens)}</strong>;
    case "em":
      return <em>{inline(token.tokens)}</em>;
    case "del":
      return <del>{inline(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <DataLink href={token.href}>{inline(token.tokens)}</DataLink>;
    case "image":
      return <DataLink href={token.href}>{token.text || token.href}</DataLink>;
    case "text":
    case "escape":
      return <>{token.type === "text" && token.tokens ? inline(token.tokens) : decoded(token.text)}</>;
    default:
      return <>{token.raw}</>;
  }
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: " " };

/** Replace the entities that people write in Markdown. */
function decoded(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
