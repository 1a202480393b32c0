// A class that follows a build, tells its messages, and opens the preview when it is deployed.
class BuildWatcher {
  #lastEventId = 0;

  constructor(base, token, id, { interval = 500 } = {}) {
    this.url = `${base}/api/builds/${id}`;
    this.headers = { "X-Session-Token": token };
    this.interval = interval;
  }

  async watch() {
    for (;;) {
      for (const event of await this.#newEvents()) await this.onEvent(event);
      const status = await this.#get("/status");
      this.onStatus(status);
      if (["completed", "failed", "unknown"].includes(status.status)) {
        // What came between the two questions.
        for (const event of await this.#newEvents()) await this.onEvent(event);
        return status;
      }
      await new Promise((resolve) => setTimeout(resolve, this.interval));
    }
  }

  async onEvent(event) {
    console.log(JSON.stringify({ id: event.id, type: event.type, message: event.data.message }));
    if (event.type === "deploy_completed") {
      const preview = await fetch(event.data.previewUrl);
      const bytes = (await preview.arrayBuffer()).byteLength;
      console.log(JSON.stringify({ preview: preview.status, kind: preview.headers.get("Content-Type"), bytes }));
    }
  }

  onStatus(status) {
    console.log(JSON.stringify({ percent: status.progress, status: status.status, error: status.error }));
  }

  async #newEvents() {
    const { events, lastEventId } = await this.#get(`/events?lastEventId=${this.#lastEventId}`);
    this.#lastEventId = lastEventId;
    return events;
  }

  async #get(path) {
    const response = await fetch(this.url + path, { headers: this.headers });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response.json();
  }
}

await new BuildWatcher(...process.argv.slice(2)).watch();
