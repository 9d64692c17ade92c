"""What a user of zhipuai's ``fine_tuning`` does, in the SDK's own environment: ``zhipu_tuning_script.py BASE_URL KEY
FILE MODEL``. It prints one JSON object of what came of it."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

base, key, file, model = sys.argv[1:]
client: Any = importlib.import_module("zhipuai").ZhipuAI(api_key=key, base_url=base, max_retries=0)
with open(file, "rb") as examples:
    uploaded = client.files.create(file=examples, purpose="fine-tune")
jobs = client.fine_tuning.jobs
job = jobs.create(
    model=model,
    training_file=uploaded.id,
    hyperparameters={"n_epochs": 3, "batch_size": "auto"},
    suffix="mine",
    request_id="mine-1",
)
told: dict[str, Any] = {"made": [job.status, job.request_id, job.hyperparameters.n_epochs, job.fine_tuned_model]}
told["same"] = jobs.retrieve(job.id) == job and jobs.list(limit=1).data == [job]
told["events"] = [event.message.split()[0] for event in jobs.list_events(job.id, limit=2).data]
told["ends"] = [jobs.cancel(job.id).status, jobs.delete(job.id).status]
told["left"] = len(jobs.list().data)
try:
    client.fine_tuning.models.delete("ft-nosuch")
except Exception as error:  # noqa: BLE001 - which one it is, is the question
    told["no model"] = type(error).__name__
print(json.dumps(told))
