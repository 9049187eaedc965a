// The runs of experiments that a filter finds, by columns, as far as they are needed.
import { ask } from "./api.js";
import { fieldOf } from "./completing.js";

const FEW = 500, MOST = 10_000;
const AT_ONCE = 100;
export const ATTRIBUTES = ["status", "run_name", "run_id", "user_id", "start_time", "end_time"];

export class RunRows {
  rows = [];
  more = false;
  #known = new Map();
  #asking = null;

  constructor(experiments) { this.experiments = experiments; }

  async readKeys() {
    this.keys = await ask("tracking/keys", { experiments: this.experiments });
    this.metrics = this.keys.metrics.map(key => fieldOf("metrics", key));
    this.params = this.keys.params.map(key => fieldOf("params", key));
    this.tags = this.keys.tags.filter(key => !key.startsWith("mlflow.")).map(key => fieldOf("tags", key));
    this.fields = [...this.metrics, ...this.params, ...this.tags];
  }

  // Reads what a filter finds, newest first or as "order" says; what was asked before is dropped.
  // Of many runs the first are shown while the others are read.
  async search(filter, order, columns, shown) {
    this.#asking?.abort();
    this.#asking = new AbortController();
    this.given = { experiments: this.experiments, filter, order: order.length ? order : null, limit: FEW };
    await this.#read(columns);
    if (!this.more) return;
    await shown();
    this.given.limit = MOST;
    await this.#read(columns);
  }

  async #read(columns) {
    const found = await this.#page(columns.slice(0, AT_ONCE));
    this.more = found.next !== "";
    this.rows = found.ids.map((id, place) => ({
      id, name: found.names[place], status: found.statuses[place], user: found.users[place],
      started: Date.parse(found.started_at[place]),
      ended: found.ended_at[place] ? Date.parse(found.ended_at[place]) : null,
    }));
    this.byId = new Map(this.rows.map(row => [row.id, row]));
    this.#known = new Map();
    this.#keep(found);
    await this.need(columns);
  }

  // Reads columns that are not there yet.
  async need(columns) {
    const missing = [...new Set(columns)].filter(one => !this.#known.has(one));
    for (let at = 0; at < missing.length; at += AT_ONCE) this.#keep(await this.#page(missing.slice(at, at + AT_ONCE)));
  }

  #page(columns) { return ask("tracking/search_table", { ...this.given, columns }, this.#asking.signal); }

  #keep(found) {
    for (const [field, values] of Object.entries(found.columns)) {
      this.#known.set(field, true);
      found.ids.forEach((id, place) => { const row = this.byId.get(id); if (row) row[field] = values[place]; });
    }
  }
}

export const keyOf = field => {
  const key = field.slice(field.indexOf(".") + 1);
  return key.startsWith("`") ? key.slice(1, -1) : key;
};
