// A hook on /api/status/{id} with TanStack Query, which asks again until the job has ended.
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<main></main>");
globalThis.window = window;
globalThis.document = window.document;
globalThis.navigator ??= window.navigator;
const { createElement: h, useLayoutEffect } = await import("react");
const { createRoot } = await import("react-dom/client");
const { QueryClient, QueryClientProvider, useQuery } = await import("@tanstack/react-query");

function useStatus(base, token, id) {
  return useQuery({
    queryKey: ["status", id],
    queryFn: async ({ signal }) => {
      const response = await fetch(`${base}/api/status/${id}`, { headers: { "X-Session-Token": token }, signal });
      if (!response.ok) throw new Error((await response.json()).error.message);
      return response.json();
    },
    refetchInterval: (query) => (query.state.data?.isTerminal ? false : 1000),
    refetchIntervalInBackground: true,
  });
}

function Job({ base, token, id }) {
  const { data, error, dataUpdatedAt } = useStatus(base, token, id);
  // Before anybody can read the page, or the line could come after what is read there.
  useLayoutEffect(() => {
    if (data) console.log(JSON.stringify({ percent: data.progress, status: data.status, result: data.resultId }));
  }, [dataUpdatedAt]);
  if (error) return h("p", { role: "alert" }, error.message);
  if (!data) return h("p", null, "…");
  if (data.isTerminal) return h("p", { role: "status" }, data.errorMessage ?? `Done: ${data.resultId}`);
  return h("progress", { max: 100, value: data.progress });
}

const [base, token, id] = process.argv.slice(2);
const client = new QueryClient();
const root = createRoot(document.querySelector("main"));
root.render(h(QueryClientProvider, { client }, h(Job, { base, token, id })));

while (!document.querySelector("[role]")) await new Promise((resolve) => setTimeout(resolve, 50));
const end = document.querySelector("[role]");
console.log(JSON.stringify({ role: end.getAttribute("role"), text: end.textContent }));
root.unmount();
client.clear();
