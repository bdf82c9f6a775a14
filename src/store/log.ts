// What the store says when nobody else will: faults that it hides from its callers.

export interface Log {
  warn(fields: object, message: string): void;
}
