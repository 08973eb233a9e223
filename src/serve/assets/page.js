// Makes the page quick. It renders nothing: it fetches the page of another address and takes over its parts, so that
// everything has one form, with a script and without. The address always says what is shown.
"use strict";
document.documentElement.classList.add("js");

const byId = (id) => document.getElementById(id);
const PARTS = ["picture", "filters", "kept", "results"]; // of the page, that differ between addresses
const KEPT_VIEWS = 12; // results that going back finds as they were left
const kept = new Map(); // number of a place in the history -> its results
let place = 0; // where in the history we are
let here = location.href; // what is shown: on the way back the address is ahead of it
let newest = 0;
let loading = null; // AbortController of what is being fetched
let adding = null;
let watcher = null; // sees the end of the results come near
let opener = null; // the item that the dialog shows

// ---- Words ----

function say(text) {
  byId("live").textContent = text;
}

const sayExtent = () => say((byId("subject").textContent + ": " + (byId("extent")?.textContent ?? "")).trim());

// A message above the results, which stay. again: what to do on "Try again".
function complain(message, again) {
  const box = document.createElement("p");
  box.className = "fault";
  box.setAttribute("role", "alert");
  box.textContent = message;
  if (again) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", () => {
      box.remove();
      again();
    });
    box.append(button);
  }
  byId("results").querySelector(":scope > .fault")?.remove();
  byId("results").prepend(box);
  box.scrollIntoView({ block: "nearest" });
}

const AWAY = "The server does not answer. Is tandem serve still running?";
const STATUS = {
  401: "The server asks for its token: open the address that it printed when it started.",
  413: "The picture is larger than the server takes.",
  429: "Too many requests at a time: wait a moment.",
  503: "The server is busy: wait a moment.",
};

// ---- Fetching pages ----

// The page at url as a document. Throws an Error with words for people; one of an abort passes.
async function fetchPage(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(AWAY);
  }
  const text = (response.headers.get("Content-Type") ?? "").startsWith("text/html") ? await response.text() : "";
  const page = new DOMParser().parseFromString(text, "text/html");
  if (response.ok && page.getElementById("results")) return { page, url: response.url };
  const said = page.querySelector("#results > .fault")?.textContent;
  throw new Error(said || STATUS[response.status] || `The server answered with an error (${response.status}).`);
}

function adopt(page, id) {
  const theirs = page.getElementById(id);
  if (theirs && byId(id)) byId(id).replaceWith(document.adoptNode(theirs));
}

// Takes over what another page shows. keepText: what stands in the search box is left, since it may be ahead.
function show(page, keepText) {
  const focused = document.activeElement?.id;
  for (const id of PARTS) adopt(page, id);
  document.title = page.title;
  const theirs = page.getElementById("q");
  if (!keepText) byId("q").value = theirs.value;
  for (const name of ["placeholder", "aria-label"]) byId("q").setAttribute(name, theirs.getAttribute(name));
  if (focused && document.activeElement?.id !== focused) byId(focused)?.focus({ preventScroll: true });
  watch();
  sayExtent();
}

// ---- The history ----

function keep() {
  kept.set(place, {
    url: here,
    parts: PARTS.map(byId).filter(Boolean),
    text: byId("q").value,
    title: document.title,
    top: scrollY,
  });
  if (kept.size > KEPT_VIEWS) kept.delete(kept.keys().next().value);
}

// Fetches a page to show, instead of what is being fetched; then: what to do with it, again: what on a failure's
// "Try again".
async function load(url, options, then, again) {
  loading?.abort();
  adding?.abort();
  adding = null;
  const mine = (loading = new AbortController());
  byId("results").setAttribute("aria-busy", "true");
  try {
    const got = await fetchPage(url, { ...options, signal: mine.signal });
    loading = null;
    then(got);
  } catch (error) {
    if (error.name === "AbortError") return;
    loading = null;
    complain(error.message, again);
  } finally {
    if (!loading) byId("results").removeAttribute("aria-busy");
  }
}

// url becomes what is shown. body: what is sent there; focus: where the focus goes then.
function go(url, { body, focus, keepText } = {}) {
  const then = (got) => {
    keep();
    if (got.url !== here) {
      place = ++newest;
      here = got.url;
      history.pushState({ place }, "", here);
    }
    show(got.page, keepText);
    scrollTo(0, 0);
    if (focus) byId(focus).focus({ preventScroll: true });
  };
  return load(url, body ? { method: "POST", body } : {}, then, () => go(url, { body, focus, keepText }));
}

function goBack(state) {
  if (byId("view").open) byId("view").close();
  keep();
  place = state?.place ?? 0;
  newest = Math.max(newest, place);
  here = location.href;
  const was = kept.get(place);
  if (was?.url !== here) return load(here, {}, (got) => show(got.page), () => location.reload());
  loading?.abort();
  adding?.abort();
  loading = adding = null;
  for (const part of was.parts) byId(part.id).replaceWith(part);
  byId("results").removeAttribute("aria-busy");
  byId("q").value = was.text;
  document.title = was.title;
  watch();
  sayExtent();
  scrollTo(0, was.top);
}

// ---- Searching ----

// The address of what the form asks for; a new question begins at the first picture.
function addressOf(form) {
  const query = new URLSearchParams();
  const asked = new FormData(form);
  for (const [name, value] of asked) if (value !== "" && name !== "weight") query.append(name, value);
  const weighs = asked.has("weight") && asked.get("weight") !== byId("weight").dataset.usual;
  if (weighs && query.has("q")) query.set("weight", asked.get("weight"));
  const text = query.toString();
  return text === "" ? "/" : "/?" + text;
}

const search = () => go(addressOf(byId("search")), { keepText: true });

function upload(file) {
  if (!byId("upload")) return complain("The model of this gallery reads no pictures.");
  const most = Number(byId("upload").dataset.bytes);
  if (!file.type.startsWith("image/")) return complain(`${file.name || "This"} is no picture.`);
  if (most > 0 && file.size > most - 4096)
    return complain(`${file.name || "The picture"} has ${megabytes(file.size)}; the server takes ${megabytes(most)}.`);
  const body = new FormData();
  for (const [name, value] of new FormData(byId("search")))
    if (value !== "" && name !== "row" && name !== "upload") body.append(name, value);
  body.append("image", file);
  return go("/", { body, keepText: true });
}

const megabytes = (bytes) => (bytes / 1048576).toFixed(1) + " MiB";

// ---- More of the results ----

function watch() {
  watcher?.disconnect();
  const more = byId("more");
  if (!more) return;
  watcher = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && addMore(), {
    rootMargin: "900px 0px",
  });
  watcher.observe(more);
}

async function addMore() {
  const more = byId("more");
  if (adding || loading || !more) return;
  const mine = (adding = new AbortController());
  watcher?.disconnect();
  more.setAttribute("aria-busy", "true");
  try {
    const { page } = await fetchPage(more.href, { signal: mine.signal });
    const had = document.activeElement === more;
    const items = [...page.querySelectorAll("#grid > li")];
    byId("grid").append(...items);
    const end = page.getElementById("to");
    if (end) byId("to").textContent = end.textContent;
    const next = page.getElementById("more");
    if (next) more.replaceWith(next);
    else more.remove();
    if (had) items[0]?.querySelector(".thumb").focus();
    sayExtent();
    adding = null;
    watch();
  } catch (error) {
    adding = adding === mine ? null : adding;
    if (error.name === "AbortError") return;
    more.removeAttribute("aria-busy"); // the link is left: it tries again
    complain(error.message, addMore);
  }
}

// ---- One picture, large ----

const partOf = (item, name) => item.querySelector("." + name);

function open(item) {
  const view = byId("view");
  const image = view.querySelector(".stage img");
  const thumb = partOf(item, "thumb");
  const small = thumb.querySelector("img"); // none where the gallery has no pictures
  opener = item;
  image.parentElement.hidden = !small;
  if (small) {
    image.src = thumb.href;
    image.alt = small.alt;
  }
  byId("view-caption").textContent = partOf(item, "caption")?.textContent || `Picture ${item.dataset.row}`;
  for (const part of view.querySelectorAll("[data-part]")) {
    const from = part.dataset.part === "row" ? null : partOf(item, part.dataset.part);
    part.replaceChildren(...(from ? [...from.childNodes].map((node) => node.cloneNode(true)) : []));
    if (part.dataset.part === "row") part.textContent = item.dataset.row;
    part.hidden = part.previousElementSibling.hidden = part.textContent === "";
  }
  byId("view-like").href = partOf(item, "like").href;
  byId("previous").disabled = !item.previousElementSibling;
  byId("next").disabled = !item.nextElementSibling;
  if (!view.open) view.showModal();
  if (!item.nextElementSibling) addMore().then(() => (byId("next").disabled = !opener?.nextElementSibling));
}

function step(by) {
  const item = by < 0 ? opener?.previousElementSibling : opener?.nextElementSibling;
  if (item) open(item);
}

// ---- Keys ----

const thumbs = () => [...document.querySelectorAll("#grid .thumb")];

// From picture to picture as they lie.
function move(key, thumb) {
  const all = thumbs();
  const at = all.indexOf(thumb);
  const top = (i) => all[i].getBoundingClientRect().top;
  let columns = 1;
  while (columns < all.length && Math.abs(top(columns) - top(0)) < 2) columns++;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: all.length - 1 }[key];
  if (to >= 0 && to < all.length) all[to].focus();
  else if (to < 0 && key === "ArrowUp") byId("q").focus();
  else if (to >= all.length && at < all.length - 1) all.at(-1).focus();
}

const isField = (element) => element.matches?.("input[type=search], select");

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  const { key, target } = event;
  const view = byId("view");
  if (view.open) {
    if (key === "ArrowLeft" || key === "ArrowRight") {
      event.preventDefault();
      step(key === "ArrowLeft" ? -1 : 1);
    }
    return; // the dialog closes itself on Escape
  }
  const item = target.closest?.("#grid > li");
  if (key === "/" && !isField(target)) {
    event.preventDefault();
    byId("q").focus();
    byId("q").select();
  } else if (key === "Escape" && byId("about").open) {
    byId("about").open = false;
    byId("about").querySelector("summary").focus();
  } else if (key === "Escape" && !isField(target)) {
    byId("q").focus();
  } else if (key === "ArrowDown" && target.id === "q") {
    event.preventDefault();
    thumbs()[0]?.focus();
  } else if (item && (key.startsWith("Arrow") || key === "Home" || key === "End") && !event.shiftKey) {
    event.preventDefault();
    move(key, partOf(item, "thumb"));
  }
}

// ---- Pointers ----

// Whether a click is for this page, not for a new tab or a download.
const isPlain = (event) => event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);

function clicked(event) {
  if (event.defaultPrevented || !isPlain(event)) return;
  const about = byId("about");
  if (about.open && !about.contains(event.target)) about.open = false;
  const link = event.target.closest("a");
  if (!link) return;
  if (link.matches("#grid .thumb")) {
    event.preventDefault();
    open(link.closest("li"));
  } else if (link.id === "more") {
    event.preventDefault();
    addMore();
  } else if (link.origin === location.origin && link.pathname === "/" && !link.hash) {
    event.preventDefault();
    if (byId("view").open) byId("view").close();
    go(link.href, { focus: link.closest("main, dialog") ? "results" : "q" });
  }
}

// A picture that is dragged here from elsewhere; not one of our own.
function takeDrops() {
  let own = false;
  let depth = 0; // entered elements; leaving the window leaves all
  const sign = (shown) => {
    byId("drop").hidden = !shown;
    if (!shown) depth = 0;
  };
  const carriesFile = (event) => !own && event.dataTransfer?.types.includes("Files");
  addEventListener("dragstart", () => (own = true));
  addEventListener("dragend", () => (own = false));
  addEventListener("dragenter", (event) => carriesFile(event) && ++depth && sign(true));
  addEventListener("dragleave", (event) => carriesFile(event) && --depth <= 0 && sign(false));
  addEventListener("dragover", (event) => carriesFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    sign(false);
    if (!carriesFile(event)) return;
    event.preventDefault();
    const file = event.dataTransfer.files[0];
    if (file) upload(file);
  });
}

function start() {
  if (!byId("search")) return; // a token is asked for first
  history.scrollRestoration = "manual";
  place = newest = history.state?.place ?? 0;
  history.replaceState({ place }, "");
  addEventListener("popstate", (event) => goBack(event.state));
  addEventListener("keydown", pressed);
  addEventListener("click", clicked);
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    upload(file);
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  addEventListener("change", (event) => {
    if (event.target.form === byId("search") && event.target.id !== "q") search(); // the weight stands outside the form
  });
  byId("upload")?.addEventListener("submit", (event) => event.preventDefault());
  byId("file")?.addEventListener("change", (event) => {
    const file = event.target.files[0];
    if (file) upload(file);
    event.target.value = "";
  });
  const view = byId("view");
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => view.close());
  view.addEventListener("click", (event) => event.target === view && view.close());
  view.addEventListener("close", () => {
    view.querySelector(".stage img").removeAttribute("src");
    if (opener?.isConnected) partOf(opener, "thumb").focus();
    opener = null;
  });
  takeDrops();
  watch();
}

document.addEventListener("DOMContentLoaded", start);
