"""A real quota tool that asks its vendor's hosts alone, pointed at another: ``quota_script.py BASE_URL ARGUMENTS…``.

Run in an environment of its own. Nothing of the tool is changed but its table of addresses.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

zai: Any = importlib.import_module("check_llm_quota.providers.zai")
base = sys.argv.pop(1)
zai.QUOTA_ENDPOINTS["intl"] = f"{base}/api/monitor/usage/quota/limit"
zai.MODELS_ENDPOINTS["intl"] = f"{base}/api/paas/v4/models"
sys.exit(importlib.import_module("check_llm_quota.cli").main())
