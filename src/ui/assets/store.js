'use strict';
// The store: what takes space, its growth, and the snapshots as a graph of descent.
lamina.store = (() => {
  const { el, bytes, charts } = lamina;
  const kRowHeight = 29;
  const kLaneWidth = 12;
  const kMaxLanes = 12;

  function decode(data) {
    const rows = data.rows.map((values) => {
      const row = {};
      data.columns.forEach((column, i) => { row[column] = values[i]; });
      return row;
    });
    return { ...data, rows };
  }

  // Lanes of the graph. The last child continues the lane of its parent, the others begin in the
  // next one, so a chain of any length needs one lane.
  function layout(data) {
    const entries = data.lineage.map(([depth, index, missing]) => ({ depth,
      row: index >= 0 ? data.rows[index] : null, missing, lane: 0, parent: null, children: 0,
      seen: 0, last: true, passes: [] }));
    const stack = [];
    for (const entry of entries) {
      stack.length = entry.depth;
      entry.parent = entry.depth > 0 ? stack[entry.depth - 1] || null : null;
      stack[entry.depth] = entry;
      if (entry.parent) ++entry.parent.children;
    }
    const open = [];
    for (const entry of entries) {
      if (entry.parent) {
        ++entry.parent.seen;
        entry.last = entry.parent.seen === entry.parent.children;
        entry.lane = entry.parent.lane + (entry.last ? 0 : 1);
      }
      open.length = entry.lane;
      entry.passes = open.map((is, lane) => (is ? lane : -1)).filter((lane) => lane >= 0);
      open[entry.lane] = entry.children > 0;
    }
    return entries;
  }

  function graphOf(entry) {
    const x = (lane) => 6 + kLaneWidth * Math.min(lane, kMaxLanes);
    const half = kRowHeight / 2;
    let path = '';
    for (const lane of entry.passes) path += `M${x(lane)} 0V${kRowHeight}`;
    if (entry.parent && entry.last) path += `M${x(entry.lane)} 0V${half}`;
    if (entry.parent && !entry.last) {
      path += `M${x(entry.lane - 1)} 0Q${x(entry.lane - 1)} ${half} ${x(entry.lane)} ${half}`;
    }
    if (entry.children > 0) path += `M${x(entry.lane)} ${half}V${kRowHeight}`;
    return el('svg', { width: 12 + kLaneWidth * Math.min(entry.lane, kMaxLanes), height: kRowHeight,
      'aria-hidden': 'true' }, el('path', { d: path }),
    el('circle', { cx: x(entry.lane), cy: half, r: 4, class: entry.row ? null : 'missing' }));
  }

  // A table of which only the rows in sight exist. The arrow keys move between the rows.
  function rowsTable(caption, columns) {
    const head = el('tr', null, columns.map((column) => el('th', { scope: 'col',
      class: column.class }, column.title)));
    const body = el('tbody');
    const table = el('table', { class: 'rows' }, el('caption', null, caption),
      el('thead', null, head), body);
    const box = el('div', { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: -1 },
      table);
    let list = [];
    let active = 0;
    let first = -1;
    let last = -1;

    function rowOf(item, index) {
      return el('tr', { 'aria-rowindex': index + 2, 'data-index': index },
        columns.map((column) => {
          const cell = column.cell(item);
          if (!column.isName) return el('td', { class: column.class }, cell);
          const link = cell instanceof HTMLAnchorElement ? cell : null;
          if (link) link.setAttribute('tabindex', index === active ? 0 : -1);
          return el('th', { scope: 'row', class: column.class }, cell);
        }));
    }
    const spacer = (height) => {
      const cell = el('td', { colspan: columns.length });
      cell.style.height = `${height}px`;
      return el('tr', { class: 'spacer', 'aria-hidden': 'true' }, cell);
    };
    function draw(force) {
      const height = box.clientHeight || 600;
      const from = Math.max(0, Math.floor(box.scrollTop / kRowHeight) - 8);
      const to = Math.min(list.length, from + Math.ceil(height / kRowHeight) + 18);
      if (!force && from === first && to === last) return;
      first = from;
      last = to;
      const made = [spacer(from * kRowHeight)];
      for (let i = from; i < to; ++i) made.push(rowOf(list[i], i));
      made.push(spacer((list.length - to) * kRowHeight));
      body.replaceChildren(...made);
    }
    function move(to) {
      active = Math.max(0, Math.min(list.length - 1, to));
      const top = active * kRowHeight;
      const room = Math.max(kRowHeight, box.clientHeight - 4 * kRowHeight);
      if (top < box.scrollTop) box.scrollTop = top;
      if (top > box.scrollTop + room) box.scrollTop = top - room;
      draw(true);
      const link = body.querySelector(`tr[data-index="${active}"] a`);
      if (link) link.focus({ preventScroll: true });
    }
    const keys = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15 };
    table.addEventListener('keydown', (event) => {
      if (event.key in keys) move(active + keys[event.key]);
      else if (event.key === 'Home') move(0);
      else if (event.key === 'End') move(list.length - 1);
      else return;
      event.preventDefault();
    });
    table.addEventListener('focusin', (event) => {
      const row = event.target.closest('tr[data-index]');
      if (row) active = Number(row.dataset.index);
    });
    box.addEventListener('scroll', () => draw(false), { passive: true });
    return {
      node: box,
      set(items) {
        list = items;
        active = 0;
        box.scrollTop = 0;
        table.setAttribute('aria-rowcount', items.length + 1);
        draw(true);
      },
      redraw() { draw(true); },
    };
  }

  const kSpace = [{ label: 'own', fill: 'fa' }, { label: 'shared', fill: 'fh' },
    { label: 'dead', fill: 'fb' }];

  // Why a snapshot takes its space, in a sentence.
  function reason(row) {
    const parts = [`${bytes(row.own_bytes)} are in files that only it has`];
    if (row.shared_bytes > 0) parts.push(`${bytes(row.shared_bytes)} it shares`);
    parts.push(`${lamina.count(row.layers, 'layer')} for ${bytes(row.memory_bytes)} of memory`);
    let text = `: ${parts.join('; ')}.`;
    if (row.dead_bytes > row.memory_bytes / 50) {
      text += ` ${bytes(row.dead_bytes)} of its layers are dead: a younger layer replaced them, and a`
        + ' merge drops them where nobody else needs them.';
    }
    return text;
  }

  function largest(data) {
    const top = [...data.rows].sort((a, b) => b.own_bytes - a.own_bytes).slice(0, 8)
      .filter((row) => row.own_bytes > 0);
    if (top.length === 0) return [];
    const most = Math.max(...top.map((row) => row.own_bytes + row.shared_bytes));
    const section = [el('h2', null, 'What takes the most space'),
      el('p', { id: 'why' }, el('a', { href: lamina.linkTo(top[0].name) }, lamina.name(top[0].name)),
        reason(top[0])),
      charts.legend(kSpace.slice(0, 2))];
    const grid = el('div', { class: 'bars' });
    for (const row of top) {
      grid.append(el('a', { href: lamina.linkTo(row.name) }, lamina.name(row.name)),
        charts.bar([{ ...kSpace[0], value: row.own_bytes }, { ...kSpace[1], value: row.shared_bytes }],
          most, bytes), el('span', { class: 'value' }, bytes(row.own_bytes)));
    }
    return [...section, grid];
  }

  function growth(data) {
    const dated = data.rows.map((row) => [Date.parse(row.created), row.own_bytes])
      .filter((point) => !Number.isNaN(point[0])).sort((a, b) => a[0] - b[0]);
    let sum = 0;
    const points = dated.map(([time, own]) => { sum += own; return [time, sum]; });
    return [el('h2', null, 'Growth'), el('p', { class: 'quiet' },
      'Own bytes of the snapshots that exist now, by the time of their pauses.'),
    charts.steps(points, 'Growth of own bytes', (time) => lamina.time(
      new Date(time).toISOString().slice(0, 19)), bytes)];
  }

  const kSorts = {
    lineage: null,
    own: (a, b) => b.own_bytes - a.own_bytes,
    dead: (a, b) => (b.dead_bytes || 0) - (a.dead_bytes || 0),
    shared: (a, b) => b.shared_bytes - a.shared_bytes,
    newest: (a, b) => (a.created < b.created ? 1 : -1),
    name: (a, b) => (a.name < b.name ? -1 : 1),
  };
  const kFilters = {
    all: () => true,
    running: (row) => row.running_vms > 0,
    damaged: (row) => row.error !== null,
    'without VM state': (row) => !row.vmstate,
    'never resumed': (row) => row.resumes === 0,
  };

  function list(data) {
    const entries = layout(data);
    const byRow = new Map(entries.filter((entry) => entry.row).map((entry) => [entry.row, entry]));
    let isGraph = true;
    const number = (title, field, show, minor) => ({ title, class: minor ? 'number minor' : 'number',
      cell: (entry) => (entry.row && entry.row[field] !== null ? show(entry.row[field]) : '') });
    const table = rowsTable('Snapshots', [
      { title: '', class: 'graph', cell: (entry) => (isGraph ? graphOf(entry) : null) },
      { title: 'Name', isName: true, cell: (entry) => (entry.row
        ? el('a', { href: lamina.linkTo(entry.row.name), title: lamina.visible(entry.row.name),
          class: entry.row.error ? 'bad' : null },
        lamina.name(entry.row.name), entry.row.error ? ' (damaged)' : '')
        : el('span', { class: 'quiet' }, lamina.name(entry.missing), ' (not here)')) },
      number('Own', 'own_bytes', bytes), number('Shared', 'shared_bytes', bytes, true),
      number('Dead', 'dead_bytes', bytes), number('Layers', 'layers', String, true),
      number('Memory', 'memory_bytes', bytes, true), number('Resumed', 'resumes', String, true),
      number('Running', 'running_vms', String, true),
      { title: 'Created', class: 'minor', cell: (entry) => (entry.row
        ? lamina.time(lamina.visible(entry.row.created)) : '') },
    ]);
    const found = el('p', { class: 'quiet', role: 'status', id: 'found' });
    const search = el('input', { type: 'search', id: 'search', input: update, spellcheck: 'false' });
    const choice = (id, words) => el('select', { id, change: update },
      words.map((word) => el('option', { value: word }, word)));
    const filter = choice('filter', Object.keys(kFilters));
    const sort = choice('sort', Object.keys(kSorts));
    function update() {
      const wanted = search.value.toLowerCase();
      const fits = (row) => kFilters[filter.value](row) && (wanted === ''
        || row.name.toLowerCase().includes(wanted) || row.parent.toLowerCase().includes(wanted)
        || (row.pause_id || '').startsWith(wanted));
      const isWhole = wanted === '' && filter.value === 'all';
      isGraph = sort.value === 'lineage' && isWhole;
      let shown;
      if (isGraph) {
        shown = entries;
      } else if (sort.value === 'lineage') {
        shown = entries.filter((entry) => entry.row && fits(entry.row));
      } else {
        shown = data.rows.filter(fits).sort(kSorts[sort.value]).map((row) => byRow.get(row));
      }
      table.set(shown);
      const rows = shown.filter((entry) => entry.row);
      found.textContent = `${lamina.count(rows.length, 'snapshot')}, ${
        bytes(rows.reduce((sum, entry) => sum + entry.row.own_bytes, 0))} of their own`;
    }
    const nodes = [el('h2', null, 'Snapshots'), el('div', { class: 'tools' },
      el('label', null, 'Search by name, parent or pause id', search),
      el('label', null, 'Show', filter), el('label', null, 'Order', sort)), found, table.node];
    return { nodes, begin: update };
  }

  async function show(main) {
    const data = decode(await lamina.data.store());
    document.getElementById('place').textContent = lamina.visible(data.store);
    const sum = (field) => data.rows.reduce((total, row) => total + (row[field] || 0), 0);
    const figure = (value, label) => el('li', null, el('strong', null, value), el('span', null, label));
    const snapshots = list(data);
    main.replaceChildren(el('h1', null, 'Store'),
      el('ul', { class: 'figures' },
        figure(bytes(data.totals.allocated_bytes), 'allocated in all'),
        figure(String(data.rows.length), 'snapshots'),
        figure(bytes(sum('own_bytes')), 'in files of one snapshot'),
        figure(bytes(data.totals.snapshot_bytes - sum('own_bytes')), 'in files of several'),
        figure(bytes(sum('dead_bytes')), 'dead, summed over snapshots'),
        figure(String(data.running.length), 'VMs running')),
      data.pending > 0 ? el('p', null, `${lamina.count(data.pending, 'pause')} on the way in.`) : '',
      ...data.notes.map((note) => el('p', { class: 'quiet' }, lamina.visible(note))),
      ...largest(data), ...snapshots.nodes, ...growth(data));
    snapshots.begin();
  }

  return { show, decode, layout, reason };
})();
