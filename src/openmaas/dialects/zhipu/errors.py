"""One table from our errors to Zhipu's: a code that is a text, the HTTP status, and a sentence in Chinese or English.

SDKs choose their exception by the status (400, 401, 429, 500, 503), coding tools by the code; 408, 409, 429 and 5xx are
sent again unless ``x-should-retry`` says no. The sentences begin as Zhipu's own do, for there are tools that read them;
what we know beyond follows. ``type`` and ``param`` stand beside them for clients of OpenAI.
https://docs.bigmodel.cn/cn/api/api-code
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec

from openmaas.core import errors as e
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.dialects.dialect import told_by_headers
from openmaas.dialects.openai import errors as openai
from openmaas.dialects.zhipu.sensitive import content_filter

#: In which a reset time is told to readers of Chinese, as Zhipu does.
_BEIJING = timezone(timedelta(hours=8))
_TIMED = re.compile(r"\[(.*?)\]")


class Row(msgspec.Struct, frozen=True):
    """Status, code and sentences. ``{field}`` is the parameter, ``{when}`` the time from which it works again; what
    stands in brackets is said only when there is such a time: a window that is too small for the request has none."""

    status: int
    code: str
    chinese: str
    english: str


_WRONG = "API 调用参数有误,请检查文档。", "The API call has invalid parameters; please check the documentation."
_NETWORK = "网络错误,请稍后重试。", "A network error occurred; please try again later."
_AUTH = "身份验证失败。", "Authentication failed."
_EXPIRED = "Authorization Token 已过期,请重新生成/获取。", "Authorization token expired."
_FAILED = "API 调用失败,请稍后重试。", "The API call failed; please try again later."
_BUSY = "该模型当前访问量过大,请您稍后再试。", "The service may be temporarily overloaded, please try again later."
_FUNDS = "余额不足或无可用资源包,请充值。", "Insufficient balance or no resource package. Please recharge."
_INTERNAL = "内部错误。", "Internal error."
_SENSITIVE = (
    "系统检测到输入或生成内容可能包含不安全或敏感内容,请您避免输入易产生敏感内容的提示语,感谢您的配合。",
    "The system detected that what was asked or answered may be unsafe or sensitive. Please rephrase it.",
)

#: A class that is not here uses its nearest ancestor's row.
TABLE: dict[type[OpenmaasError], Row] = {
    OpenmaasError: Row(500, "500", *_INTERNAL),
    e.Refused: Row(400, "1210", *_WRONG),
    e.BadRequest: Row(400, "1210", *_WRONG),
    e.FieldInvalid: Row(400, "1214", "`{field}` 参数非法,请检查文档。", "`{field}` is not valid."),
    e.FieldMissing: Row(400, "1213", "未正常接收到 `{field}` 参数。", "`{field}` was not received."),
    e.ContentSensitive: Row(400, "1301", *_SENSITIVE),
    e.TooLarge: Row(413, "1210", "请求体过大。", "The request is too large."),
    e.TooSlow: Row(408, "1234", *_NETWORK),
    e.EncodingUnknown: Row(415, "1210", *_WRONG),
    e.ContextExceeded: Row(400, "1261", "Prompt 超长。", "Prompt exceeds max length."),
    e.NotRecognised: Row(401, "1000", *_AUTH),
    e.KeyMissing: Row(
        *(401, "1001", "Header 中未收到 Authorization 参数,无法进行身份验证。"),
        "No Authorization parameter was received in the header; authentication is impossible.",
    ),
    e.KeyMalformed: Row(
        *(401, "1002", "Authorization Token 非法,请确认 Authorization Token 正确传递。"),
        "Authorization token invalid; please confirm that it is passed on correctly.",
    ),
    e.KeyExpired: Row(401, "1003", *_EXPIRED),
    e.TokenExpired: Row(401, "1003", *_EXPIRED),
    e.NotAllowed: Row(403, "1220", "您无权访问该 API。", "You do not have permission to access this."),
    e.PlanMissing: Row(
        *(429, "1311", "当前订阅套餐暂未开放该模型权限。"),
        "Your subscription plan does not include access to this model.",
    ),
    e.NotFound: Row(404, "1222", "API 不存在。", "The API does not exist."),
    e.ThingUnknown: Row(404, "1214", "`{field}` 参数非法,该记录不存在。", "`{field}` is not valid: no such record."),
    e.ModelUnknown: Row(400, "1211", "模型不存在,请检查模型代码。", "Unknown Model, please check the model code."),
    e.MethodUnknown: Row(405, "1222", "API 不存在。", "The API does not exist."),
    e.Conflict: Row(400, "1231", "您已有相同的请求。", "You already have this request."),
    e.InsufficientFunds: Row(429, "1113", *_FUNDS),
    e.PlanExhausted: Row(
        *(429, "1308", "已达到当前时段的使用上限[,您的限额将在 {when} 重置]。"),
        "Usage limit reached for this window.[ Your limit will reset at {when}.]",
    ),
    e.CycleExhausted: Row(
        *(429, "1310", "已达到每周/每月使用上限[,您的限额将在 {when} 重置]。"),
        "Weekly/Monthly Limit Exhausted.[ Your limit will reset at {when}.]",
    ),
    e.OverPlan: Row(
        *(429, "1308", "已达到当前时段的使用上限。本次请求可能超出整个窗口,请减小 max_tokens 或缩短输入。"),
        "Usage limit reached for this window. The request alone can cost more than all of it: lower max_tokens.",
    ),
    e.BudgetExceeded: Row(429, "1113", "已超出预算。", "The budget is exhausted."),
    e.LimitReached: Row(429, "1302", "您的账户已达到速率限制,请您控制请求频率。", "Rate limit reached for requests."),
    e.ClientLeft: Row(400, "1210", *_WRONG),
    e.SettingInvalid: Row(500, "500", *_INTERNAL),
    e.ExtraMissing: Row(400, "1221", "该 API 在本服务中未开放。", "This API is not available on this installation."),
    e.Failed: Row(500, "500", *_INTERNAL),
    e.EngineFailed: Row(500, "1234", *_NETWORK),
    e.DeviceLost: Row(500, "1234", *_NETWORK),
    e.Overloaded: Row(429, "1305", *_BUSY),
    e.NoReplica: Row(429, "1312", *_BUSY),
    e.Draining: Row(503, "1305", *_BUSY),
    e.StaleView: Row(503, "1305", *_BUSY),
    e.PullFailed: Row(500, "1200", *_FAILED),
    e.Internal: Row(500, "500", *_INTERNAL),
    e.JournalFull: Row(503, "1200", *_FAILED),
    e.StoreFailed: Row(503, "1200", *_FAILED),
}
#: Sent again they would fail again, beside those of every dialect: here their status is one that SDKs try again.
_HOPELESS = (e.PlanMissing, e.ExtraMissing)


def row_of(error: OpenmaasError) -> Row:
    """What an error is called."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def render(error: OpenmaasError, language: str, clock: Clock) -> tuple[int, bytes, bytes]:
    """Status, extra header lines and JSON body of an error; Chinese unless the caller wants English."""
    headers = told_by_headers(error)
    if isinstance(error, _HOPELESS) and b"x-should-retry" not in headers:
        headers += b"x-should-retry: false\r\n"
    body: dict[str, Any] = {"error": told(error, language, clock)}
    if isinstance(error, e.ContentSensitive):
        body["contentFilter"] = content_filter(error.role)
    return row_of(error).status, headers, msgspec.json.encode(body)


def told(error: OpenmaasError, language: str, clock: Clock) -> dict[str, str | None]:
    """The members of ``error``."""
    row = row_of(error)
    chinese = not language or language == "zh"
    wait_ms = round((error.retry_after_s or 0) * 1000)
    when = datetime.fromtimestamp((clock.wall_ms() + wait_ms) / 1000, _BEIJING if chinese else UTC)
    shown = f"{when:%Y-%m-%d %H:%M:%S}" + ("" if chinese else " UTC")
    sentence = _TIMED.sub("" if error.retry_after_s is None else r"\1", row.chinese if chinese else row.english)
    sentence = sentence.format(field=error.field or "body", when=shown)
    message = f"{sentence} {error.detail}" if error.detail else sentence
    kind = openai.status_of(error)[1]
    return {"code": row.code, "message": message, "type": kind, "param": error.field}
