'use strict';
// One snapshot: its memory, its layers, its pauses and resumes, and what a merge would give.
lamina.snapshot = (() => {
  const { el, bytes, charts, ms } = lamina;
  const kBlock = 4096;
  const kFills = ['fa', 'fb', 'fc', 'fd', 'fe', 'ff', 'fg', 'fh'];
  const kPausePhases = ['prepare', 'pause', 'create', 'journal', 'hook', 'resume', 'complete', 'publish'];
  const kResumePhases = ['pin', 'prepare', 'load', 'resume'];
  const phaseParts = (names, values) => names.map((name, i) => ({ label: name,
    value: values[name] || 0, fill: kFills[i % kFills.length] }));

  const isFailure = (event) => event.outcome !== undefined && event.outcome !== 'done';

  function space(snapshot) {
    const { info } = snapshot;
    let own = 0;
    let shared = 0;
    for (const layer of info.layers) {
      const live = layer.live_blocks * kBlock;
      if (layer.link_count > 1) shared += live;
      else own += live;
    }
    const zeros = info.zero_blocks * kBlock;
    const total = own + shared + zeros;
    const parts = [{ label: 'in layers of its own', value: own, fill: 'fa' },
      { label: 'in layers that others have too', value: shared, fill: 'fh' },
      { label: 'zeros, not stored', value: zeros, fill: 'fz' }];
    return [el('h2', null, 'Memory'),
      el('p', { id: 'own' }, `${lamina.percent(own, total)} of its memory (${bytes(own)} of ${
        bytes(total)}) is in layers that only it has; ${bytes(shared)} in layers that other snapshots `
        + `or VMs have too; ${bytes(zeros)} are zeros.`),
      charts.bar(parts, total, bytes), charts.legend(parts)];
  }

  function layersTable(info) {
    const most = Math.max(1, ...info.layers.map((layer) => layer.live_blocks + (layer.dead_blocks || 0)));
    const rows = info.layers.map((layer, i) => {
      const picture = charts.bar([{ label: 'live', value: layer.live_blocks * kBlock, fill: 'fa' },
        { label: 'dead', value: (layer.dead_blocks || 0) * kBlock, fill: 'fb' }], most * kBlock, bytes);
      picture.classList.add('in-table');
      picture.style.minWidth = '8rem';
      return [`${i}`, picture, bytes(layer.live_blocks * kBlock),
        layer.dead_blocks === null ? '-' : bytes(layer.dead_blocks * kBlock),
        layer.allocated_bytes === null ? '-' : bytes(layer.allocated_bytes),
        layer.link_count === null ? '-' : layer.link_count, layer.checksums ? 'yes' : 'no: served unchecked',
        el('span', { class: 'code' }, layer.build_id)];
    });
    return [el('h2', null, 'Layers, oldest first'),
      charts.legend([{ label: 'live', fill: 'fa' }, { label: 'dead', fill: 'fb' }]),
      lamina.table('Layers', ['Layer', 'Live and dead', 'Live', 'Dead', 'Allocated', 'Names',
        'Checksums', 'Build'], rows)];
  }

  const phasesOf = (pause) => Object.fromEntries(Object.entries(pause.phases || {})
    .map(([key, value]) => [key.replace(/_ms$/, ''), value]));

  // The pauses of its line: records of the snapshots, and the daemon's events, which know more.
  function pausesOf(snapshot, events) {
    const found = new Map();
    for (const one of snapshot.line) {
      if (!one.pause) continue;
      found.set(one.pause_id, { name: one.name, created: one.created, kind: one.pause.kind,
        reason: one.pause.reason, phases: phasesOf(one.pause) });
    }
    const ids = new Set(snapshot.line.map((one) => one.pause_id));
    for (const event of events) {
      if (event.event !== 'pause' || !event.phases || isFailure(event)) continue;
      const name = event.snapshot || event.name;
      if (name !== snapshot.name && !ids.has(event.pause_id)) continue;
      found.set(event.pause_id, { id: event.pause_id, name, created: event.time, kind: event.kind,
        reason: event.reason, phases: phasesOf(event) });
    }
    return [...found.values()].sort((a, b) => (a.created < b.created ? 1 : -1));
  }

  function barRows(items, names, labelOf) {
    const sum = (item) => names.reduce((total, name) => total + (item.phases[name] || 0), 0);
    const most = Math.max(...items.map(sum));
    const grid = el('div', { class: 'bars' });
    for (const item of items) {
      grid.append(labelOf(item), charts.bar(phaseParts(names, item.phases), most, ms),
        el('span', { class: 'value' }, ms(sum(item))));
    }
    return [charts.legend(phaseParts(names, {})), grid];
  }

  function pauses(snapshot, events) {
    const list = pausesOf(snapshot, events);
    const made = [el('h2', null, 'Pauses of its line')];
    const own = snapshot.pause || list.find((item) => item.id === snapshot.info.pause_id);
    if (own) {
      made.push(el('p', { id: 'kind' }, `This pause is ${own.kind === 'full' ? 'a full memory file' : 'a diff'}: `,
        lamina.name(own.reason), '.'));
    } else {
      made.push(el('p', { id: 'kind' }, 'How it was taken is not known here: its memory was ingested, '
        + 'or its snapshot does not record it and laminad has no event of its pause any more.'));
    }
    if (list.length === 0) return made;
    const frozen = list[0].phases.frozen;
    if (frozen) made.push(el('p', null, `The VM was frozen for ${ms(frozen)} in the newest of them.`));
    const measured = list.filter((item) => kPausePhases.some((name) => item.phases[name] > 0));
    if (measured.length > 0) made.push(...barRows(measured.slice(0, 24), kPausePhases, (item) => el('span',
      { title: lamina.visible(item.reason) }, lamina.name(item.name), ` ${item.kind}`)));
    made.push(lamina.table('Pauses', ['Snapshot', 'Time', 'Kind', 'Because', 'Frozen'], list.map((item) => [
      lamina.name(item.name), lamina.time(lamina.visible(item.created)), item.kind,
      lamina.visible(item.reason), item.phases.frozen ? ms(item.phases.frozen) : '-'])));
    return made;
  }

  function resumes(snapshot, events, map) {
    const list = events.filter((event) => event.event === 'resume' && !isFailure(event)
      && event.load_ms !== undefined && (event.snapshot || event.name) === snapshot.name)
      .reverse().slice(0, 12).map((event) => ({ time: event.time, mode: event.mode, reason: event.reason,
        phases: { pin: event.pin_ms, prepare: event.prepare_ms, load: event.load_ms, resume: event.resume_ms } }));
    const made = [el('h2', null, 'Resumes')];
    if (list.length > 0) {
      const newest = list[0];
      const total = kResumePhases.reduce((sum, name) => sum + newest.phases[name], 0);
      const slowest = kResumePhases.reduce((a, b) => (newest.phases[a] >= newest.phases[b] ? a : b));
      made.push(el('p', { id: 'slow' }, `The slowest part of the last resume was ${slowest}: ${
        ms(newest.phases[slowest])} of ${ms(total)} (${newest.mode}: `, lamina.name(newest.reason), ').'));
      made.push(...barRows(list, kResumePhases, (item) => el('span', null, lamina.time(item.time))));
    } else {
      made.push(el('p', { id: 'slow' }, lamina.report || !lamina.live.hasDaemon()
        ? 'Times of resumes are in the events of laminad, which are not at hand here.'
        : 'The daemon has no event of a resume of this snapshot.'));
    }
    const { info } = snapshot;
    const hints = [`A resume opens ${lamina.count(info.layers.length, 'layer')}.`];
    hints.push(map.set ? 'A working set is recorded: its blocks are filled before the guest asks for them.'
      : 'No working set is recorded: each first touch of a block is a page fault.');
    if (info.windows.max_extents > 64) {
      hints.push(`One piece of 2 MiB has ${info.windows.max_extents} extents: a fault on a huge page there `
        + 'needs as many reads. A merge helps.');
    }
    made.push(el('p', { class: 'quiet' }, hints.join(' ')));
    return made;
  }

  function merges(plans) {
    if (!plans) return [el('p', null, 'What a merge would give is not known.')];
    return [lamina.table('What a merge would give', ['Policy', 'Layers', 'Reads', 'Writes', 'Frees',
      'Duplicates'], plans.map((plan) => [
      el('span', { class: 'code' }, plan.policy.startsWith('tiered') ? 'tiered (the default)' : 'full: all layers'),
      plan.outcome === 'nothing' ? `${plan.layers_before}: nothing to merge` : `${plan.layers_before} to ${plan.layers_after}`,
      bytes(plan.read_bytes), bytes(plan.written_bytes), bytes(plan.freed_bytes),
      bytes(plan.duplicated_bytes)])),
    el('p', { class: 'quiet' }, 'Duplicates: bytes of merged layers that stay, since other snapshots have them.')];
  }

  // What --allow-actions permits. A removal needs the name, typed, and removes only the state that is
  // shown: a pause may have replaced it since.
  function actions(name, pause) {
    if (!lamina.actions) return [];
    const result = el('p', { role: 'status', id: 'action-result' });
    const buttons = [];
    const run = (action, button) => {
      buttons.forEach((one) => { one.disabled = true; });
      result.replaceChildren('Working …');
      lamina.actions(action, name, action === 'remove' ? pause : '').then((message) => {
        result.replaceChildren(lamina.visible(message));
        if (action !== 'remove') again(button);
      }, (error) => {
        result.replaceChildren(el('span', { class: 'bad' }, lamina.visible(error.message)));
        again(button);
      });
    };
    const typed = el('input', { type: 'text', id: 'remove-name', autocomplete: 'off', spellcheck: 'false', input: ready });
    const merge = el('button', { type: 'button', id: 'merge', click: (event) => run('merge', event.target) }, 'Merge layers');
    const remove = el('button', { type: 'button', id: 'remove', click: (event) => run('remove', event.target) }, 'Remove');
    buttons.push(merge, remove);
    function ready() {
      merge.disabled = false;
      remove.disabled = typed.value !== name;
    }
    // A button that is disabled loses the focus.
    function again(button) {
      ready();
      if (!document.activeElement || document.activeElement === document.body) button.focus();
    }
    ready();
    return [el('h2', null, 'Actions'), el('p', { class: 'tools' }, merge,
      el('label', null, 'Name, to remove the snapshot', typed), remove), result];
  }

  async function show(main, name) {
    const snapshot = await lamina.data.snapshot(name);
    const { info } = snapshot;
    const map = lamina.memoryMap.build(name, snapshot);
    const fact = (label, value) => [el('dt', null, label), el('dd', null, value)];
    const history = el('section');
    const merge = el('section', null, el('p', { class: 'quiet' }, 'Planning …'));
    let drawn = '';
    const drawHistory = () => {
      const events = lamina.live.events();
      const version = `${events.length} ${lamina.live.hasDaemon()}`;
      if (version === drawn) return;
      drawn = version;
      history.replaceChildren(...pauses(snapshot, events), ...resumes(snapshot, events, map));
    };
    main.replaceChildren(
      lamina.report && !lamina.report.store ? '' : el('p', null, el('a', { href: '#/store' }, 'All snapshots')),
      el('h1', null, 'Snapshot ', lamina.name(name)),
      el('dl', null, ...fact('Memory', bytes(info.memory_bytes)),
        ...fact('Created', lamina.time(lamina.visible(info.created || ''))),
        ...fact('Generation', `${info.generation} (${lamina.count(info.layers.length, 'layer')}, ${
          lamina.count(info.extent_count, 'extent')})`),
        ...fact('VM state', info.vmstate_bytes === null ? 'none' : bytes(info.vmstate_bytes)),
        ...fact('Pause', el('span', { class: 'code' }, info.pause_id || 'unknown'))),
      ...space(snapshot), el('h2', null, 'Map'), ...map.nodes.filter((node) => node), history,
      ...layersTable(info), el('h2', null, 'What a merge would give'), merge, ...actions(name, info.pause_id || ''));
    drawHistory();
    lamina.live.onEvents(drawHistory);
    lamina.data.merge(name).then((plans) => merge.replaceChildren(...merges(plans)),
      (error) => merge.replaceChildren(el('p', { class: 'bad' }, lamina.visible(error.message))));
  }

  return { show, pausesOf };
})();
