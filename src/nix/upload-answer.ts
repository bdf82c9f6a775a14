// What a client is told about its upload; Nix prints it for every 4xx.

export interface UploadAnswer {
  readonly status: number;
  readonly text: string;
}

export const STORED: UploadAnswer = { status: 201, text: 'stored\n' };

export const refusal = (status: number, text: string): UploadAnswer => ({ status, text: `${text}\n` });
