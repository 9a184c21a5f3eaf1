// Asks the server: with the key of whoever looks at the page, whole answers and streams.

const KEY = 'tercet/key';

/** What the server answered in place of what was asked for. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 where the server cannot be reached
   * @param {string} message
   * @param {string} [code]
   */
  constructor(status, message, code = '') {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** A key, kept while the tab is open or, where that is wanted, in this browser. */
export const key = {
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? '';
    } catch {
      return this.held ?? '';
    }
  },
  /**
   * @param {string} value
   * @param {boolean} remembers
   */
  set(value, remembers) {
    this.held = value;
    try {
      sessionStorage.setItem(KEY, value);
      if (remembers) {
        localStorage.setItem(KEY, value);
      } else {
        localStorage.removeItem(KEY);
      }
    } catch {
      // Storage is forbidden: the key lasts as long as the page.
    }
  },
};

/** An address of the server, also behind a proxy that puts a folder before it. */
function address(path) {
  return new URL(path, document.baseURI);
}

async function send(path, { body, signal } = {}) {
  const headers = {};
  if (key.get()) {
    headers.authorization = `Bearer ${key.get()}`;
  }
  if (body) {
    headers['content-type'] = 'application/json';
  }
  const request = { method: body ? 'POST' : 'GET', headers, signal, cache: 'no-store' };
  try {
    return await fetch(address(path), body ? { ...request, body: JSON.stringify(body) } : request);
  } catch (error) {
    if (error.name === 'AbortError') {
      throw error;
    }
    throw new ApiError(0, 'The server cannot be reached.');
  }
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy's answer, perhaps.
  }
  return new ApiError(response.status, error.message ?? `The server answered ${response.status}.`, error.code ?? '');
}

async function answered(path, options) {
  const response = await send(path, options);
  if (!response.ok) {
    throw await refusal(response);
  }
  return response;
}

/**
 * The JSON at a path; with a body it is posted.
 * @param {string} path
 * @param {{body?: object, signal?: AbortSignal}} [options]
 */
export async function json(path, options) {
  return (await answered(path, options)).json();
}

/**
 * The text at a path.
 * @param {string} path
 */
export async function text(path) {
  return (await answered(path)).text();
}

/**
 * The events of a stream, each the object that it holds, until the last.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} signal
 */
export async function* events(path, body, signal) {
  const response = await answered(path, {
    body: { ...body, stream: true, stream_options: { include_usage: true } },
    signal,
  });
  for await (const data of lines(response.body)) {
    if (data === '[DONE]') {
      return;
    }
    const event = JSON.parse(data);
    if (event.error) {
      throw new ApiError(response.status, event.error.message, event.error.code ?? '');
    }
    yield event;
  }
  throw new ApiError(0, 'The answer ended before it was whole.');
}

/** What stands after `data:` in each event; comments keep the connection alive and say nothing. */
async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      const parts = (rest + value).split(/\r?\n/);
      rest = parts.pop();
      for (const line of parts) {
        if (line.startsWith('data:')) {
          yield line.slice(5).trimStart();
        }
      }
    }
  } catch (error) {
    throw error.name === 'AbortError' ? error : new ApiError(0, 'The connection broke off.');
  } finally {
    reader.cancel().catch(() => {});
  }
}
