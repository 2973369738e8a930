"""Behaviours -> mergeable states -> scores."""
