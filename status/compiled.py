"""Queries that are compiled and planned once: for one that every poll asks, both cost many times the asking."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from psycopg import abc, generators
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult


class _Plan(NamedTuple):
    sql: str
    params: list[Any]
    places: list[list[int]]
    """For each argument, where it stands in `params`."""
    convert: Callable[[Sequence[Any]], Sequence[Any]]


class CompiledQuery:
    """`build` makes a queryset of `values_list`; it is called once, with `examples` in the place of arguments.

    Each example must be a value that nothing else in the query has, and none may be None: a comparison with NULL
    is another query. Arguments are strings and UUIDs.
    """

    _numbers = count(1)

    def __init__(self, build: Callable[..., QuerySet[Any, tuple[Any, ...]]], *examples: Any) -> None:
        self._build = build
        self._examples = examples
        self._name = f"darkroom_{next(self._numbers)}".encode()

    def first(self, *arguments: Any) -> Sequence[Any] | None:
        database = connections[DEFAULT_DB_ALIAS]  # itself: the proxy looks for this thread's at every word
        plan, adapted = self._plan, _adapted(database)
        params = list(plan.params)
        for argument, places in zip(arguments, plan.places, strict=True):
            for place in places:
                params[place] = adapted(argument)
        return self._first(database, plan, params)

    @cached_property
    def _plan(self) -> _Plan:
        database = connections[DEFAULT_DB_ALIAS]
        compiler = self._build(*self._examples).query.get_compiler(connection=database)
        sql, params = compiler.as_sql()
        examples = map(_adapted(database), self._examples)
        places = [[place for place, param in enumerate(params) if param == example] for example in examples]
        assert all(places), "an example that the query does not have"  # noqa: S101
        converters = compiler.get_converters([column for column, _, _ in compiler.select])
        return _Plan(sql, list(params), places, lambda row: next(compiler.apply_converters([row], converters)))

    def _first(self, database: BaseDatabaseWrapper, plan: _Plan, params: list[Any]) -> Sequence[Any] | None:
        # Whoever logs queries wants to see this one, too.
        if database.vendor != "postgresql" or database.queries_logged:
            return _executed(database, plan, params)
        try:
            return self._prepared(database, plan.sql, params)
        except OperationalError:
            if database.in_atomic_block:
                raise
            # A server that was restarted since the last poll: no connection is tried out before it is used.
            database.close()
            return self._prepared(database, plan.sql, params)

    def _prepared(self, database: BaseDatabaseWrapper, sql: str, params: list[Any]) -> Sequence[Any] | None:
        """With the driver's own means: Django's cursors write the parameters into the text, which the server then
        parses and plans each time, and psycopg's take four times as long over a statement that they know."""
        database.ensure_connection()
        with database.wrap_database_errors:
            known = _known_to(database.connection)
            if self._name not in known:
                known[self._name] = _Statement(database.connection, self._name, sql)
            return known[self._name].first(params)


def _executed(database: BaseDatabaseWrapper, plan: _Plan, params: list[Any]) -> Sequence[Any] | None:
    with database.cursor() as cursor:
        cursor.execute(plan.sql, params)
        row: Sequence[Any] | None = cursor.fetchone()
    return None if row is None else plan.convert(row)


class _Row(Sequence[Any]):
    """An answer of the server, whose columns are read when they are asked for: few are, mostly."""

    def __init__(self, result: PGresult, columns: abc.Transformer, loaders: list[Callable[[Any], Any]]) -> None:
        self._result, self._columns, self._loaders = result, columns, loaders

    def __len__(self) -> int:
        return len(self._loaders)

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, int):
            self._columns.set_pgresult(self._result, set_loaders=False)
            return self._columns.load_row(0, tuple)[place]
        value = self._result.get_value(0, place)
        return None if value is None else self._loaders[place](value)


class _Statement:
    """One that the server of a connection has planned, and what is known of its columns."""

    def __init__(self, server: "psycopg.Connection[Any]", name: bytes, sql: str) -> None:
        self._server, self._name = server, name
        # Django's loader of times is Python; this one is C, and the connection's time zone is UTC just the same.
        loader = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, psycopg.pq.Format.TEXT)
        assert loader  # noqa: S101 - psycopg knows this type
        own = psycopg.Cursor(server)
        own.adapters.register_loader("timestamptz", loader)
        self._columns: abc.Transformer = Transformer(own)
        self._loaders: list[Callable[[Any], Any]] = []
        first, *others = sql.split("%s")
        numbered = first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1))
        server.pgconn.send_prepare(name, numbered.encode())
        self._answer()

    def first(self, params: list[Any]) -> Sequence[Any] | None:
        self._server.pgconn.send_query_prepared(self._name, [str(param).encode() for param in params])
        result = self._answer()
        if not result.ntuples:
            return None
        if not self._loaders:
            self._columns.set_pgresult(result)
            types = map(result.ftype, range(result.nfields))
            self._loaders = [self._columns.get_loader(oid, psycopg.pq.Format.TEXT).load for oid in types]
        return _Row(result, self._columns, self._loaders)

    def _answer(self) -> PGresult:
        result: PGresult
        (result,) = self._server.wait(generators.execute(self._server.pgconn))
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result)
        return result


_mine = threading.local()


def _known_to(server: "psycopg.Connection[Any]") -> dict[bytes, _Statement]:
    """By name; of this thread's connection, for as long as it lives."""
    if getattr(_mine, "server", None) is not server:
        _mine.server, _mine.statements = server, {}
    statements: dict[bytes, _Statement] = _mine.statements
    return statements


def _adapted(database: BaseDatabaseWrapper) -> Callable[[Any], Any]:
    """Arguments as the database takes them: SQLite has no type for a UUID."""
    if database.features.has_native_uuid_field:
        return lambda argument: argument
    return lambda argument: argument.hex if isinstance(argument, UUID) else argument
