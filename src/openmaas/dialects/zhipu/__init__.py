"""Zhipu's dialect: the OpenAI wire with thoughts, searches and codes of its own. https://docs.bigmodel.cn/api-reference"""
