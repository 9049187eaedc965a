// The list of traces: names of fields are completed.
import { completes } from "./completing.js";

const FIELDS = ["state", "name", "trace_id", "run_id", "request_time", "execution_time_ms", "client_request_id", "tags.", "metadata."];
completes(document.getElementById("trace-filter"), () => FIELDS);
