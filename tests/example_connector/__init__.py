"""A connector that lives outside Penstock, built, installed, discovered and measured like any third party's."""
