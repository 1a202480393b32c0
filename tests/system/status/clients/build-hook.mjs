// A React hook that follows a build, in a page that lists its messages.
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<main></main>");
globalThis.window = window;
globalThis.document = window.document;
globalThis.navigator ??= window.navigator;
const { createElement: h, StrictMode, useEffect, useLayoutEffect, useState } = await import("react");
const { createRoot } = await import("react-dom/client");

function useBuild(base, token, id) {
  const [events, setEvents] = useState([]);
  const [status, setStatus] = useState(null);

  useEffect(() => {
    const leaving = new AbortController();
    const options = { headers: { "X-Session-Token": token }, signal: leaving.signal };
    const get = async (path) => (await fetch(`${base}/api/builds/${id}${path}`, options)).json();
    let lastEventId = 0;
    let timer;

    async function poll() {
      const now = await get("/status");
      const news = await get(`/events?lastEventId=${lastEventId}`);
      lastEventId = news.lastEventId;
      setEvents((earlier) => [...earlier, ...news.events]);
      setStatus(now);
      if (now.status !== "completed" && now.status !== "failed") timer = setTimeout(poll, 500);
    }

    poll().catch((error) => {
      if (error.name !== "AbortError") throw error;
    });
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, [base, token, id]);

  return { events, status };
}

function Build({ base, token, id }) {
  const { events, status } = useBuild(base, token, id);
  const preview = events.find((event) => event.type === "deploy_completed")?.data.previewUrl;
  // Before anybody can read the page, or the line could come after what is read there.
  useLayoutEffect(() => {
    if (status) console.log(JSON.stringify({ percent: status.progress, status: status.status }));
  }, [status]);
  return h("section", { "data-status": status?.status ?? "loading" }, [
    h("ol", { key: "events" }, events.map((event) => h("li", { key: event.id, id: `event-${event.id}` }, event.data.message))),
    preview && h("img", { key: "preview", src: preview }),
  ]);
}

const [base, token, id] = process.argv.slice(2);
const root = createRoot(document.querySelector("main"));
root.render(h(StrictMode, null, h(Build, { base, token, id })));

while (!document.querySelector("[data-status=completed], [data-status=failed]")) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
const items = [...document.querySelectorAll("li")];
console.log(JSON.stringify({ ids: items.map((item) => item.id), messages: items.map((item) => item.textContent) }));
const image = document.querySelector("img");
if (image) {
  const preview = await fetch(image.src);
  console.log(JSON.stringify({ preview: preview.status, kind: preview.headers.get("Content-Type") }));
}
root.unmount();
