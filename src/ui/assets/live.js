'use strict';
// What changes while VMs run. The console sends it as server-sent events.
lamina.live = (() => {
  const { el, bytes, charts } = lamina;
  const kMaxEvents = 2000;
  const kMaxSamples = 300;
  let state = null;
  let previous = null;
  const seen = [];
  const faults = [];
  let listeners = [];
  let eventListeners = [];

  // Prometheus' text: a map from name to [{labels, value}].
  function parse(text) {
    const found = new Map();
    for (const line of (text || '').split('\n')) {
      const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (!match) continue;
      const labels = {};
      for (const [, key, value] of (match[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[key] = value;
      if (!found.has(match[1])) found.set(match[1], []);
      found.get(match[1]).push({ labels, value: Number(match[3]) });
    }
    return found;
  }
  const sum = (metrics, name) => (metrics.get(name) || []).reduce((total, one) => total + one.value, 0);

  // The figures of each VM that is served, by PID-START.
  function figuresOfVms(now, before) {
    const found = new Map();
    const add = (metrics, name, field, when) => (metrics.get(name) || []).forEach((one) => {
      if (when && !when(one.labels)) return;
      if (!found.has(one.labels.vm)) found.set(one.labels.vm, {});
      found.get(one.labels.vm)[field] = one.value;
    });
    add(now.parsed, 'lamina_vm_memory_bytes', 'memory');
    add(now.parsed, 'lamina_vm_filled_bytes_total', 'filled');
    add(now.parsed, 'lamina_vm_populated_bytes_total', 'populated');
    add(now.parsed, 'lamina_vm_slow_faults_total', 'slow');
    add(now.parsed, 'lamina_vm_fault_seconds_sum', 'seconds');
    add(now.parsed, 'lamina_vm_fault_seconds_count', 'faults');
    add(now.parsed, 'lamina_vm_fault_seconds', 'p99', (labels) => labels.quantile === '0.99');
    add(now.parsed, 'lamina_vm_network_wait_seconds_count', 'waits');
    add(now.parsed, 'lamina_vm_network_wait_seconds_sum', 'waitSeconds');
    add(now.parsed, 'lamina_vm_network_wait_seconds', 'waitP99', (labels) => labels.quantile === '0.99');
    add(now.parsed, 'lamina_vm_network_waiting_faults', 'waiting');
    for (const one of before ? before.parsed.get('lamina_vm_fault_seconds_count') || [] : []) {
      const vm = found.get(one.labels.vm);
      if (vm) vm.rate = Math.max(0, 1000 * (vm.faults - one.value) / (now.at - before.at));
    }
    return found;
  }

  function take(fresh) {
    previous = state;
    state = { ...fresh, at: performance.now(), parsed: parse(fresh.metrics) };
    if (previous) {
      const count = sum(state.parsed, 'lamina_faults_total') - sum(previous.parsed, 'lamina_faults_total');
      faults.push([Date.now(), Math.max(0, 1000 * count / (state.at - previous.at))]);
      if (faults.length > kMaxSamples) faults.shift();
    }
    lamina.status(state.errors.length ? lamina.visible(state.errors.join('; ')) : '');
    listeners.forEach((listener) => listener());
  }

  function begin() {
    if (lamina.report) return;
    let batch = null;
    let after = 0;
    let failures = 0;
    const connect = () => {
      const source = new EventSource(`api/live?after=${after}`);
      source.addEventListener('state', (message) => { failures = 0; take(JSON.parse(message.data)); });
      source.addEventListener('event', (message) => {
        const event = JSON.parse(message.data);
        after = event.sequence;
        seen.push(event);
        if (seen.length > kMaxEvents) seen.shift();
        if (batch) return;
        batch = setTimeout(() => { batch = null; eventListeners.forEach((listener) => listener()); }, 50);
      });
      // The response ends when it has told what there is. A second later the next one is asked for.
      source.addEventListener('error', () => {
        source.close();
        if (++failures > 2) lamina.status('The console does not answer. Does lamina ui still run?');
        setTimeout(connect, 1000);
      });
    };
    connect();
  }

  const whenKnown = (title, draw, main) => {
    const again = () => {
      if (!state) { main.replaceChildren(el('h1', null, title), el('p', null, 'Waiting for figures …')); return; }
      // What had the focus is made anew.
      const places = () => [...main.querySelectorAll('a, [tabindex]')];
      const focused = places().indexOf(document.activeElement);
      draw(state);
      const place = places()[focused];
      if (place) place.focus({ preventScroll: true });
    };
    listeners = [again];
    again();
  };

  function latency(metrics, metric, unit, perSecond) {
    const buckets = (metrics.get(`${metric}_bucket`) || []).map((one) => [one.labels.le, one.value]);
    let before = 0;
    const counts = buckets.map(([le, total]) => { const here = total - before; before = total; return [le, here]; });
    const name = (le) => (le === '+Inf' ? 'more' : `up to ${(Number(le) * perSecond).toFixed(0)} ${unit}`);
    return counts.filter(([, count], i) => count > 0 || i < counts.length - 1).map(([le, count]) => [name(le), count]);
  }

  const millis = (seconds) => (Number.isFinite(seconds) ? `${(1e3 * seconds).toFixed(0)} ms` : '-');
  // Of a VM whose snapshot is all here there are none.
  const waitsOf = (vm) => (vm.waits || vm.waiting ? `${vm.waits}${vm.waiting ? `, ${vm.waiting} now` : ''}` : '0');
  const micros = (seconds) => (Number.isFinite(seconds) ? `${(1e6 * seconds).toFixed(0)} µs` : '-');
  function rowOfVm(pin, vm) {
    const figures = vm ? [vm.rate === undefined ? '-' : vm.rate.toFixed(0),
      vm.faults ? micros(vm.seconds / vm.faults) : '-', micros(vm.p99), vm.slow,
      waitsOf(vm), vm.waits ? millis(vm.waitSeconds / vm.waits) : '-', vm.waits ? millis(vm.waitP99) : '-',
      lamina.percent(Math.min(vm.filled, vm.memory), vm.memory),
      lamina.percent(Math.min(vm.populated, vm.memory), vm.memory)] : Array(9).fill('-');
    return [`process ${pin.pid}`,
      pin.snapshot ? el('a', { href: lamina.linkTo(pin.snapshot) }, lamina.name(pin.snapshot)) : '-',
      pin.by_page_faults ? 'by page faults' : 'a mapped file', ...figures, lamina.time(pin.since || '')];
  }

  function showVms(main) {
    whenKnown('VMs', (now) => {
      const metrics = now.parsed;
      const vms = figuresOfVms(now, previous);
      const count = sum(metrics, 'lamina_fault_seconds_count');
      const filled = sum(metrics, 'lamina_filled_bytes_total');
      const populated = sum(metrics, 'lamina_populated_bytes_total');
      const histogram = latency(metrics, 'lamina_fault_seconds', 'µs', 1e6);
      const waits = latency(metrics, 'lamina_network_wait_seconds', 'ms', 1e3);
      const waitCount = sum(metrics, 'lamina_network_wait_seconds_count');
      const waiting = sum(metrics, 'lamina_network_waiting_faults');
      const figure = (value, label) => el('li', null, el('strong', null, value), el('span', null, label));
      const rate = faults.length ? faults[faults.length - 1][1] : 0;
      main.replaceChildren(el('h1', null, 'VMs'),
        el('ul', { class: 'figures' }, figure(String((now.sessions || []).length), 'VMs running'),
          figure(String(sum(metrics, 'lamina_sessions')), 'served by page faults'),
          figure(rate.toFixed(0), 'faults per second'),
          figure(count ? `${(1e6 * sum(metrics, 'lamina_fault_seconds_sum') / count).toFixed(1)} µs` : '-', 'mean fault'),
          figure(lamina.percent(populated, populated + filled), `of ${bytes(populated + filled)} came without a fault`)),
        lamina.table('Running VMs', ['VM', 'Snapshot', 'Memory', 'Faults/s', 'Mean', '99 % within', 'Slow faults',
          'Network waits', 'Mean wait', '99 % of waits within', 'Filled', 'Without a fault', 'Since'], (now.sessions || []).map((pin) => rowOfVm(pin, vms.get(pin.name)))),
        el('p', { class: 'quiet' }, 'Mean, 99 % and shares are since the resume. A slow fault took 16 ms or more: it waited '
          + 'for the network, or for a disk. Network waits are faults whose block had yet to be fetched from a bucket.'),
        el('h2', null, 'Faults per second'),
        charts.steps(faults, 'Faults per second', (time) => new Date(time).toLocaleTimeString(), (value) => value.toFixed(0)),
        el('h2', null, 'From a fault to its page'),
        charts.histogram(histogram, 'Histogram of fault times'),
        lamina.table('Fault times', ['Time', 'Faults', 'Share'], histogram.filter(([, n]) => n > 0).map(
          ([name, n]) => [name, n, lamina.percent(n, count)])),
        el('h2', null, 'Waits for the network'),
        ...(waitCount || waiting ? [
          el('p', null, `${waitCount} faults waited for a bucket, ${millis(sum(metrics, 'lamina_network_wait_seconds_sum')
            / waitCount)} each; ${waiting} wait now.`),
          charts.histogram(waits, 'Histogram of waits for the network'),
          lamina.table('Waits for the network', ['Time', 'Faults', 'Share'], waits.filter(([, n]) => n > 0).map(
            ([name, n]) => [name, n, lamina.percent(n, waitCount)]))]
          : [el('p', null, 'No fault has waited for a bucket.')]),
        el('p', { class: 'quiet' }, now.metrics ? 'The figures above and below the table are sums over all VMs of the page server.'
          : 'No page server runs for this store.'));
    }, main);
  }

  function showRemote(main) {
    whenKnown('Remote', (now) => {
      const metrics = now.parsed;
      const push = now.push || { url: '', names: '', queue: [] };
      if (!now.daemon) {
        main.replaceChildren(el('h1', null, 'Remote'), el('p', null, 'No daemon keeps this store, so nothing is '
          + 'pushed by itself. lamina remote ls lists a bucket.'));
        return;
      }
      const figure = (value, label) => el('li', null, el('strong', null, value), el('span', null, label));
      const outcomes = (metrics.get('laminad_pushes_total') || []).map((one) => [one.labels.outcome, one.value]);
      main.replaceChildren(el('h1', null, 'Remote'),
        el('p', null, push.url ? 'Bucket ' : 'The daemon has no bucket (--push).', push.url ? lamina.name(push.url) : ''),
        el('ul', { class: 'figures' },
          figure(String(push.queue.length), 'states are only here'),
          figure(String(push.queue.filter((one) => one.state === 'failed').length), 'cannot be pushed'),
          figure(`${sum(metrics, 'laminad_push_oldest_seconds').toFixed(0)} s`, 'the oldest waits'),
          figure(bytes(sum(metrics, 'laminad_push_bytes_total')), 'pushed'),
          figure(bytes(sum(metrics, 'laminad_pull_bytes_total')), 'pulled'),
          figure(String(sum(metrics, 'laminad_remote_retries_total')), 'requests repeated')),
        lamina.table('Waiting to be pushed', ['Name', 'State', 'Only here since', 'Failed attempts', 'Last error'],
          push.queue.map((one) => [lamina.name(one.name), one.state, `${one.age_s.toFixed(0)} s`,
            one.failed_attempts, one.error ? lamina.visible(one.error.message) : ''])),
        lamina.table('Pushes by outcome', ['Outcome', 'Pushes'], outcomes));
    }, main);
  }

  function showEvents(main) {
    listeners = [];
    const search = el('input', { type: 'search', id: 'event-search', input: draw, spellcheck: 'false' });
    const kind = el('select', { id: 'event-kind', change: draw }, el('option', { value: '' }, 'all'));
    const place = el('div');
    const text = (event) => {
      const { sequence, time, event: what, ...rest } = event;
      return Object.entries(rest).map(([key, value]) => `${key}=${
        typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ');
    };
    function draw() {
      for (const what of new Set(seen.map((event) => event.event))) {
        if (![...kind.options].some((option) => option.value === what)) kind.append(el('option', { value: what }, what));
      }
      const wanted = search.value.toLowerCase();
      const shown = [...seen].reverse().filter((event) => (!kind.value || event.event === kind.value)
        && (!wanted || text(event).toLowerCase().includes(wanted))).slice(0, 200);
      place.replaceChildren(lamina.table(`Events, newest first: ${shown.length}`, ['Time', 'Event', 'What'],
        shown.map((event) => [lamina.time(event.time), event.event, el('span', { class: 'code' },
          lamina.visible(text(event)))])));
    }
    main.replaceChildren(el('h1', null, 'Events'), el('div', { class: 'tools' },
      el('label', null, 'Search', search), el('label', null, 'Kind', kind)),
    state && !state.daemon ? el('p', null, 'Events come from laminad; no daemon keeps this store.') : '', place);
    eventListeners = [draw];
    draw();
  }

  return {
    begin, parse, showVms, showRemote, showEvents,
    events: () => seen,
    hasDaemon: () => Boolean(state && state.daemon),
    onEvents: (listener) => { eventListeners = [listener]; listeners = [listener]; },
    leave: () => { listeners = []; eventListeners = []; },
  };
})();
