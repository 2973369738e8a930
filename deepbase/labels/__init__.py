"""Symbols -> hypothesis behaviours: functions, SQL expressions and annotation columns, evaluated by DuckDB."""
