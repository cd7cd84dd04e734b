'use strict';
// Elements, texts, and where the data comes from. Everything untrusted becomes a text node.
const lamina = {};

lamina.el = (name, attributes, ...children) => {
  const svg = ['svg', 'path', 'rect', 'circle', 'text', 'line', 'title'].includes(name);
  const made = svg ? document.createElementNS('http://www.w3.org/2000/svg', name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
};

// Names and texts of files as they are shown: what would act on the text is written as \u{…}.
lamina.visible = (text) => String(text).replace(
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
  (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
lamina.name = (text) => lamina.el('bdi', null, lamina.visible(text));

lamina.bytes = (count) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit + 1 < units.length) { value /= 1024; ++unit; }
  return unit === 0 ? `${count} B` : `${value.toFixed(1)} ${units[unit]}`;
};
lamina.count = (number, noun) => `${number} ${noun}${number === 1 ? '' : 's'}`;
lamina.ms = (value) => (value >= 10000 ? `${(value / 1000).toFixed(1)} s`
  : value >= 10 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`);
lamina.percent = (part, whole) => (whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : '0 %');
lamina.time = (text) => (text ? text.replace('T', ' ').replace('Z', '') : '');

lamina.status = (text) => { document.getElementById('status').textContent = text; };

lamina.numbers = (base64) => {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; ++i) bytes[i] = text.charCodeAt(i);
  return new DataView(bytes.buffer);
};

// A report has its data in the page; the console fetches it.
lamina.report = (() => {
  const found = document.getElementById('report');
  return found ? JSON.parse(found.textContent) : null;
})();

lamina.get = async (path) => {
  const response = await fetch(path, { cache: 'no-store' });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error ? body.error.message : `status ${response.status}`);
  return body;
};

// Requests that change something: only if the console permits them (--allow-actions).
lamina.actions = (() => {
  const found = document.querySelector('meta[name="lamina-actions"]');
  if (!found) return null;
  return async (action, name, pause) => {
    const response = await fetch(`api/act/${action}?name=${encodeURIComponent(name)}&pause=${pause}`,
      { method: 'POST', headers: { 'Lamina-Action-Token': found.content } });
    const text = await response.text();
    let body = {};
    try { body = JSON.parse(text); } catch { body = { error: { message: text } }; }
    if (!response.ok) throw new Error(body.error ? body.error.message : `status ${response.status}`);
    return body.message;
  };
})();

lamina.data = {
  store: async () => (lamina.report ? lamina.report.store : lamina.get('api/store')),
  snapshot: async (name) => {
    if (!lamina.report) return lamina.get(`api/snapshot?name=${encodeURIComponent(name)}`);
    const found = lamina.report.snapshots[name];
    if (!found) throw new Error('this report lists the snapshot, but does not have its memory');
    return found;
  },
  merge: async (name) => (lamina.report ? lamina.report.snapshots[name].merge
    : lamina.get(`api/merge?name=${encodeURIComponent(name)}`)),
  block: async (name, offset) => lamina.get(
    `api/block?name=${encodeURIComponent(name)}&offset=${offset}`),
};

lamina.linkTo = (name) => `#/snapshot/${encodeURIComponent(name)}`;
lamina.table = (caption, titles, rows) => lamina.el('div',
  { class: 'scroll wide', tabindex: 0, role: 'region', 'aria-label': caption },
  lamina.el('table', null,
    lamina.el('caption', null, caption),
    lamina.el('thead', null, lamina.el('tr', null,
      titles.map((title) => lamina.el('th', { scope: 'col' }, title)))),
    lamina.el('tbody', null, rows.map((cells) => lamina.el('tr', null, cells.map((cell, i) => (
      i === 0 ? lamina.el('th', { scope: 'row' }, cell)
        : lamina.el('td', typeof cell === 'number' ? { class: 'number' } : null,
          typeof cell === 'number' ? String(cell) : cell))))))));
