/**
 * MessagePack, as flytekit stores dataclasses and dicts. Written here because the libraries merge `1` and `1.0` into
 * one number: here an integer is a `bigint`, a float a `number`, as in json.ts.
 */

import { emptyObject, JSON_DEPTH_MAX, type JsonObject, type JsonValue } from "./json.ts";

export interface Decoded {
  value: JsonValue;
  /** False where the bytes hold a thing that JSON lacks: bytes, an extension, a key that is no text. */
  exact: boolean;
}

const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

class Reader {
  exact = true;
  private offset = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get ended(): boolean {
    return this.offset === this.bytes.length;
  }

  private skip(size: number): number {
    const start = this.offset;
    if (start + size > this.bytes.length) throw new RangeError("the msgpack value is cut off");
    this.offset += size;
    return start;
  }

  private unsigned(size: 1 | 2 | 4): number {
    const start = this.skip(size);
    if (size === 1) return this.view.getUint8(start);
    return size === 2 ? this.view.getUint16(start) : this.view.getUint32(start);
  }

  private take(size: number): Uint8Array {
    const start = this.skip(size);
    return this.bytes.subarray(start, start + size);
  }

  private text(size: number): string {
    const bytes = this.take(size);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      this.exact = false;
      return new TextDecoder().decode(bytes);
    }
  }

  private list(size: number, depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    for (let index = 0; index < size; index += 1) items.push(this.value(depth + 1));
    return items;
  }

  private object(size: number, depth: number): JsonObject {
    const members = emptyObject();
    for (let index = 0; index < size; index += 1) {
      const key = this.value(depth + 1);
      if (typeof key !== "string") this.exact = false;
      const name =
        typeof key === "string"
          ? key
          : JSON.stringify(key, (_, part) => (typeof part === "bigint" ? String(part) : part));
      if (name in members) this.exact = false;
      members[name.replace(/^"(-?\d+)"$/, "$1")] = this.value(depth + 1);
    }
    return members;
  }

  private opaque(size: number, label: string): string {
    this.exact = false;
    return `${label}:${base64(this.take(size))}`;
  }

  value(depth: number): JsonValue {
    if (depth > JSON_DEPTH_MAX) throw new RangeError(`more than ${JSON_DEPTH_MAX} levels`);
    const type = this.unsigned(1);
    if (type <= 0x7f) return BigInt(type);
    if (type >= 0xe0) return BigInt(type - 256);
    if (type <= 0x8f) return this.object(type & 0x0f, depth);
    if (type <= 0x9f) return this.list(type & 0x0f, depth);
    if (type <= 0xbf) return this.text(type & 0x1f);
    return this.typed(type, depth);
  }

  private typed(type: number, depth: number): JsonValue {
    const sizes = [1, 2, 4] as const;
    if (type === 0xc0) return null;
    if (type === 0xc2 || type === 0xc3) return type === 0xc3;
    if (type >= 0xc4 && type <= 0xc6) return this.opaque(this.unsigned(sizes[type - 0xc4] ?? 1), "bytes");
    if (type >= 0xc7 && type <= 0xc9) {
      const size = this.unsigned(sizes[type - 0xc7] ?? 1);
      return this.opaque(size + 1, "extension");
    }
    if (type === 0xca) return this.view.getFloat32(this.skip(4));
    if (type === 0xcb) return this.view.getFloat64(this.skip(8));
    if (type >= 0xcc && type <= 0xce) return BigInt(this.unsigned(sizes[type - 0xcc] ?? 1));
    if (type === 0xcf) return this.view.getBigUint64(this.skip(8));
    if (type === 0xd0) return BigInt(this.view.getInt8(this.skip(1)));
    if (type === 0xd1) return BigInt(this.view.getInt16(this.skip(2)));
    if (type === 0xd2) return BigInt(this.view.getInt32(this.skip(4)));
    if (type === 0xd3) return this.view.getBigInt64(this.skip(8));
    if (type >= 0xd4 && type <= 0xd8) return this.opaque((1 << (type - 0xd4)) + 1, "extension");
    if (type >= 0xd9 && type <= 0xdb) return this.text(this.unsigned(sizes[type - 0xd9] ?? 1));
    if (type === 0xdc || type === 0xdd) return this.list(this.unsigned(type === 0xdc ? 2 : 4), depth);
    if (type === 0xde || type === 0xdf) return this.object(this.unsigned(type === 0xde ? 2 : 4), depth);
    throw new RangeError(`0x${type.toString(16)} is no msgpack type`);
  }
}

/** Decode one value. Raises `RangeError` where the bytes are not exactly one msgpack value. */
export function decode(bytes: Uint8Array): Decoded {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.ended) throw new RangeError("bytes follow the msgpack value");
  return { value, exact: reader.exact };
}

class Writer {
  private bytes = new Uint8Array(256);
  private size = 0;

  result(): Uint8Array {
    return this.bytes.slice(0, this.size);
  }

  private room(size: number): DataView {
    if (this.size + size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.size + size));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    const view = new DataView(this.bytes.buffer, this.size, size);
    this.size += size;
    return view;
  }

  private byte(value: number): void {
    this.room(1).setUint8(0, value);
  }

  /** Write a length: short form, then 1, 2 or 4 bytes; types of 0 do not exist. */
  private length(size: number, short: [number, number], types: [number, number, number]): void {
    if (size < short[1]) this.byte(short[0] | size);
    else if (types[0] && size < 0x100) {
      this.byte(types[0]);
      this.byte(size);
    } else if (size < 0x10000) {
      this.byte(types[1]);
      this.room(2).setUint16(0, size);
    } else {
      this.byte(types[2]);
      this.room(4).setUint32(0, size);
    }
  }

  private integer(value: bigint): void {
    if (value < INT64_MIN || value > UINT64_MAX) throw new RangeError(`${value} does not fit into 64 bits`);
    if (value >= -32n && value <= 127n) this.byte(Number(value) & 0xff);
    else if (value >= 0n) this.unsigned(value);
    else this.signed(value);
  }

  private unsigned(value: bigint): void {
    if (value < 0x100n) {
      this.byte(0xcc);
      this.byte(Number(value));
    } else if (value < 0x10000n) {
      this.byte(0xcd);
      this.room(2).setUint16(0, Number(value));
    } else if (value < 0x100000000n) {
      this.byte(0xce);
      this.room(4).setUint32(0, Number(value));
    } else {
      this.byte(0xcf);
      this.room(8).setBigUint64(0, value);
    }
  }

  private signed(value: bigint): void {
    if (value >= -0x80n) {
      this.byte(0xd0);
      this.room(1).setInt8(0, Number(value));
    } else if (value >= -0x8000n) {
      this.byte(0xd1);
      this.room(2).setInt16(0, Number(value));
    } else if (value >= -0x80000000n) {
      this.byte(0xd2);
      this.room(4).setInt32(0, Number(value));
    } else {
      this.byte(0xd3);
      this.room(8).setBigInt64(0, value);
    }
  }

  private text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.length(bytes.length, [0xa0, 32], [0xd9, 0xda, 0xdb]);
    this.room(bytes.length);
    this.bytes.set(bytes, this.size - bytes.length);
  }

  value(value: JsonValue): void {
    if (value === null) this.byte(0xc0);
    else if (typeof value === "boolean") this.byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "bigint") this.integer(value);
    else if (typeof value === "number") {
      this.byte(0xcb);
      this.room(8).setFloat64(0, value);
    } else if (typeof value === "string") this.text(value);
    else if (Array.isArray(value)) {
      this.length(value.length, [0x90, 16], [0, 0xdc, 0xdd]);
      for (const item of value) this.value(item);
    } else {
      const keys = Object.keys(value);
      this.length(keys.length, [0x80, 16], [0, 0xde, 0xdf]);
      for (const key of keys) {
        this.text(key);
        this.value(value[key] as JsonValue);
      }
    }
  }
}

/** Encode a value. Raises `RangeError` for an integer beyond 64 bits. */
export function encode(value: JsonValue): Uint8Array {
  const writer = new Writer();
  writer.value(value);
  return writer.result();
}

export function base64(bytes: Uint8Array): string {
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** Decode base64, standard or URL-safe. Raises where the text is not base64. */
export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
}
