// What a page or a program does through a client that openapi-typescript and openapi-fetch make from the document.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Task = components["schemas"]["Task"];
const baseUrl = process.env.TENFOLD_URL ?? "";
const anonymous = createClient<paths>({ baseUrl });

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`failed: ${what}`);
}

const user = { username: "typescript", email: "ts@example.com", password: "correct horse battery staple" };
const registered = await anonymous.POST("/auth/register", { body: user });
check(registered.response.status === 201, "register");
const login = await anonymous.POST("/auth/login", { body: { username: user.username, password: user.password } });
check(login.data !== undefined, "login");
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${login.data.access_token}` } });

const titles = ["one", "two", "three", "four", "five"];
const made: Task[] = [];
for (const title of titles) {
  const answer = await client.POST("/tasks", { body: { title, priority: 2, labels: ["ts"], status: "pending" } });
  check(answer.response.status === 201 && answer.data !== undefined && "title" in answer.data, `create ${title}`);
  made.push(answer.data);
}
const accepted = await client.POST("/tasks", {
  body: { title: "later", status: "blocked" },
  params: { header: { Prefer: "respond-async" } },
});
check(accepted.response.status === 202 && accepted.data !== undefined && "state" in accepted.data, "accepted");
const job = await client.GET("/jobs/{id}", { params: { path: { id: accepted.data.id }, header: { Prefer: "wait=5" } } });
check(job.data?.state === "succeeded", "the job of what was accepted");

const found: string[] = [];
let cursor: string | null | undefined;
do {
  // Lists in queries go out as `status=pending&status=blocked`.
  const page = await client.GET("/tasks", {
    params: { query: { status: ["pending", "blocked"], limit: 2, ...(cursor ? { cursor } : {}) } },
  });
  check(page.data !== undefined, "list");
  found.push(...page.data.items.map((task) => task.title));
  cursor = page.data.next_cursor;
} while (cursor !== null);
check(found.join() === [...titles, "later"].join(), `all pages, not ${found.join()}`);
const count = await client.GET("/tasks/count", { params: { query: { status: ["pending"] } } });
check(count.data?.count === 5 && !count.data.estimated, "count");

const id = made[0]!.id;
const patch = (tag: string) =>
  client.PATCH("/tasks/{id}", {
    params: { path: { id }, header: { "If-Match": tag } },
    body: { status: "in_progress" as const, due_date: null },
  });
const patched = await patch('"1"');
check(patched.response.status === 200 && patched.response.headers.get("ETag") === '"2"', "patch");
const stale = await patch('"1"');
check(stale.response.status === 412 && stale.error?.type === "/problems/version-conflict", "a stale patch");

const batch = await client.POST("/tasks/batch", {
  body: {
    operations: [
      { op: "create", fields: { title: "of a batch" } },
      { op: "update", id, if_version: 2, fields: { priority: 1 } },
      { op: "delete", id: made[1]!.id },
    ],
  },
});
check(batch.data !== undefined && "results" in batch.data, "batch");
check(batch.data.results.map((result) => result.status).join() === "201,200,204", "results of the batch");

const file = "title,priority\nimported,3\n";
const imported = await client.POST("/imports", {
  params: { query: { format: "csv" }, header: { "Content-Disposition": 'attachment; filename="tasks.csv"' } },
  body: file,
  bodySerializer: (body) => body,
  headers: { "Content-Type": "application/octet-stream" },
});
check(imported.response.status === 202 && imported.data !== undefined, "import");
const done = await client.GET("/imports/{id}", {
  params: { path: { id: imported.data.id }, header: { Prefer: "wait=5" } },
});
check(done.data?.created === 1, "the import's counts");

const ordered = await client.POST("/exports", { body: { format: "csv", priority: [3], status: ["pending"] } });
check(ordered.data !== undefined, "export");
const path = { id: ordered.data.id };
const ended = await client.GET("/exports/{id}", { params: { path, header: { Prefer: "wait=5" } } });
check(ended.data?.state === "succeeded", "the export");
const exported = await client.GET("/exports/{id}/file", { params: { path }, parseAs: "text" });
check(exported.data?.includes("imported") === true, "the file");
console.log("the flow passed");
