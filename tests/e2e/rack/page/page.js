"use strict";

const PAUSE = 1000; // milliseconds between two questions
const shown = new Map(); // what each part of the page shows, as JSON: only news are drawn

function element(tag, content, className) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  // Always as text: names come from whoever made the machine.
  if (content instanceof Array) made.append(...content);
  else if (content !== undefined) made.append(content);
  return made;
}

function table(titles, rows, empty) {
  if (!rows.length) return element("p", empty);
  const head = element("tr", titles.map((title) => element("th", title)));
  const body = rows.map((cells) => element("tr", cells.map((cell, column) => {
    const made = cell instanceof Node ? cell : element("td", cell);
    made.dataset.title = titles[column]; // for a narrow screen, which shows no head
    return made;
  })));
  return element("table", [element("thead", head), element("tbody", body)]);
}

function size(bytes) {
  const gib = bytes / 1024 ** 3;
  if (gib >= 1024) return `${(gib / 1024).toFixed(1)} TiB`;
  return gib >= 1 ? `${gib.toFixed(gib % 1 ? 1 : 0)} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}

const COLOURS = {
  running: "good", member: "good", "virtual IP": "good",
  maintenance: "waiting", "waits for bootstrap": "waiting",
  stopped: "bad", "machine without power": "bad", "virtual IP, etcd does not run": "bad",
};

function word(text) {
  return element("td", text, COLOURS[text]);
}

function machine(m) {
  const disks = m.disks.map((d) => `${d.key} ${size(d.size)}${d.of_image ? " (image)" : ""}`);
  return [
    element("td", String(m.id), "number"),
    m.name,
    word(m.lock ? `${m.state}, locked (${m.lock})` : m.state),
    word(m.stage || (m.kind === "qemu" ? "" : m.kind)),
    m.role,
    word(m.etcd),
    element("td", m.address, "number"),
    `${m.cores} × ${size(m.memory)}`,
    element("td", disks.join("\n"), "long"),
    m.talos,
    element("td", m.tags, "long"),
  ];
}

const MACHINE = ["Id", "Name", "State", "Stage", "Role", "etcd", "Address", "Cores, memory", "Disks",
  "Talos", "Tags"];

function storage(s) {
  const meter = element("meter");
  meter.max = s.total;
  meter.value = s.used;
  meter.setAttribute("aria-label", `used space of ${s.name}`);
  const text = ` ${size(s.used)} of ${size(s.total)}`;
  return element("span", [element("strong", s.name), " ", meter, text]);
}

function host(h) {
  return element("article", [
    element("h2", h.name),
    element("div", h.storages.map(storage), "storages"),
    element("div", table(MACHINE, h.machines.map(machine), "No machine."), "scroll"),
  ]);
}

function request(r) {
  const parameters = Object.entries(r.parameters).map(([key, value]) => `${key}=${value}`);
  return [
    element("td", String(r.number), "number"),
    r.api,
    r.method,
    element("td", element("code", r.path), "long"),
    element("td", element("code", parameters.join(" ")), "long"),
  ];
}

const PARTS = {
  hosts: (state) => [state.hosts, (hosts) => hosts.map(host)],
  addresses: (state) => [state.addresses, (rows) => [table(["Address", "What", "Of"], rows.map(
    (a) => [element("td", a.address, "number"), word(a.what), a.owner]), "None.")]],
  images: (state) => [state.images, (rows) => [table(["Host", "Name", "Size", "From"], rows.map(
    (i) => [i.host, element("td", i.name, "long"), size(i.size), element("td", i.source, "long")]), "None.")]],
  counts: (state) => [state.requests.by_api, (counts) => [
    Object.entries(counts).map(([api, count]) => `${count} to ${api}`).join(", ") || "None yet."]],
  requests: (state) => [state.requests.latest, (rows) => [table(
    ["No.", "To", "Method", "Path or machine", "Parameters"], rows.map(request), "")]],
};

function draw(state) {
  for (const [id, part] of Object.entries(PARTS)) {
    const [data, make] = part(state);
    const text = JSON.stringify(data);
    if (shown.get(id) === text) continue;
    shown.set(id, text);
    document.getElementById(id).replaceChildren(...make(data));
  }
}

async function ask() {
  const status = document.getElementById("status");
  try {
    const state = await (await fetch("state")).json();
    draw(state);
    status.className = "";
    status.textContent = `Proxmox at ${state.endpoints.proxmox}, image factory at ${state.endpoints.factory}`;
  } catch {
    status.className = "bad";
    status.textContent = "The rack does not answer: it has ended, or is about to start.";
  }
  setTimeout(ask, PAUSE);
}

ask();
