"""Tables as real libraries make them: adopted, searched, and written into by the library beside.

    libraries.py HOWDAH DATABASE_URL [NAME …]

Runs in the directory of a declaration whose server is up. For each library: it makes its table and writes rows; `howdah
adopt` writes the block; `plan` is empty after `apply`; search gives the right row and metadata filters hold; then the
library writes another row, which Howdah finds, and still reads its own.
"""

import hashlib
import json
import math
import subprocess
import sys
import time

DIMENSIONS = 8
HOWDAH, URL, NAMES = sys.argv[1], sys.argv[2], sys.argv[3:]
TEXTS = {"cats": {"kind": "pet", "legs": 4}, "wolves": {"kind": "wild", "legs": 4}, "crows": {"kind": "wild", "legs": 2}}


def embed(text):
    """The same vector for the same text, of length one."""
    digest = hashlib.sha256(text.encode()).digest()[:DIMENSIONS]
    vector = [byte / 255 - 0.5 for byte in digest]
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def howdah(*words):
    ran = subprocess.run([HOWDAH, *words], capture_output=True, text=True, timeout=120)
    if ran.returncode:
        raise AssertionError(f"howdah {' '.join(words)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    return ran.stdout


def sqlalchemy_url():
    scheme, rest = URL.split("://", 1)
    return f"postgresql+psycopg://{rest}"


def search(collection, text, *words):
    answer = json.loads(howdah("search", "-c", collection, "--vector", json.dumps(embed(text)), "-o", "json", *words))
    assert answer["complete"], answer["complete_reason"]
    return answer["results"]


class Library:
    """What all of them have in common. `where` is a filter that only `wolves` and `crows` pass."""

    table = None
    collection = None
    recognised = None
    metric = "cosine"
    where = "metadata.kind=wild"
    dimensions = False

    def make(self):
        raise NotImplementedError

    def add(self, text, metadata):
        raise NotImplementedError

    def nearest(self, text):
        raise NotImplementedError

    def shown(self, hit):
        return hit.get("content")


class Plain(Library):
    """`pgvector` with psycopg: a table of one's own."""

    table, collection, metric, where = "plain_items", "plain_items", "l2", "kind=wild"

    def connect(self):
        import psycopg
        from pgvector.psycopg import register_vector

        connection = psycopg.connect(URL, autocommit=True)
        register_vector(connection)
        return connection

    def make(self):
        with self.connect() as connection:
            connection.execute(
                f"CREATE TABLE plain_items (id bigserial PRIMARY KEY, content text, kind text, embedding vector({DIMENSIONS}))"
            )
            connection.execute("CREATE INDEX ON plain_items USING hnsw (embedding vector_l2_ops)")

    def add(self, text, metadata):
        import numpy

        with self.connect() as connection:
            connection.execute(
                "INSERT INTO plain_items (content, kind, embedding) VALUES (%s, %s, %s)",
                (text, metadata["kind"], numpy.array(embed(text))),
            )

    def nearest(self, text):
        import numpy

        with self.connect() as connection:
            sql = "SELECT content FROM plain_items ORDER BY embedding <-> %s LIMIT 1"
            return connection.execute(sql, (numpy.array(embed(text)),)).fetchone()[0]


class SqlAlchemy(Library):
    """A model of SQLAlchemy in a schema of its own, with an index for the inner product."""

    table, collection, metric = "models.sa_documents", "sa_documents", "inner_product"

    def make(self):
        from pgvector.sqlalchemy import Vector
        from sqlalchemy import Index, Text, create_engine, text
        from sqlalchemy.dialects.postgresql import JSONB, UUID
        from sqlalchemy.orm import DeclarativeBase, mapped_column
        import uuid

        class Base(DeclarativeBase):
            pass

        class Document(Base):
            __tablename__ = "sa_documents"
            __table_args__ = (
                Index("sa_near", "embedding", postgresql_using="hnsw", postgresql_ops={"embedding": "vector_ip_ops"}),
                {"schema": "models"},
            )
            id = mapped_column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
            body = mapped_column(Text)
            meta = mapped_column(JSONB)
            embedding = mapped_column(Vector(DIMENSIONS))

        self.model, self.engine = Document, create_engine(sqlalchemy_url())
        with self.engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA models"))
        Base.metadata.create_all(self.engine)

    def add(self, text, metadata):
        from sqlalchemy.orm import Session

        with Session(self.engine) as session:
            session.add(self.model(body=text, meta=metadata, embedding=embed(text)))
            session.commit()

    def nearest(self, text):
        from sqlalchemy import select
        from sqlalchemy.orm import Session

        with Session(self.engine) as session:
            near = self.model.embedding.max_inner_product(embed(text))
            return session.scalars(select(self.model).order_by(near).limit(1)).one().body


class Django(Library):
    """A model of Django."""

    table, collection, metric, where = "zoo_animal", "zoo_animal", "cosine", "kind=wild"

    def make(self):
        import django
        import psycopg.conninfo
        from django.conf import settings

        parts = psycopg.conninfo.conninfo_to_dict(URL)
        settings.configure(
            INSTALLED_APPS=[],
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": parts["dbname"],
                    "USER": parts.get("user"),
                    "PASSWORD": parts.get("password"),
                    "HOST": parts.get("host"),
                    "PORT": parts.get("port"),
                }
            },
        )
        django.setup()
        from django.db import connection, models
        from pgvector.django import HnswIndex, VectorField

        class Animal(models.Model):
            name = models.CharField(max_length=100)
            text = models.TextField()
            kind = models.CharField(max_length=20)
            embedding = VectorField(dimensions=DIMENSIONS)

            class Meta:
                app_label = "zoo"
                indexes = [HnswIndex(name="zoo_near", fields=["embedding"], opclasses=["vector_cosine_ops"])]

        self.model = Animal
        with connection.schema_editor() as editor:
            editor.create_model(Animal)

    def add(self, text, metadata):
        self.model.objects.create(name=text.upper(), text=text, kind=metadata["kind"], embedding=embed(text))

    def nearest(self, text):
        from pgvector.django import CosineDistance

        return self.model.objects.order_by(CosineDistance("embedding", embed(text))).first().text


class LangChain(Library):
    """LangChain's `PGVectorStore`, whose metadata is `json`."""

    table, collection, recognised = "lang_store", "lang_store", "LangChain `PGVectorStore`"

    def embeddings(self):
        from langchain_core.embeddings import Embeddings

        class Hashed(Embeddings):
            def embed_documents(self, texts):
                return [embed(text) for text in texts]

            def embed_query(self, text):
                return embed(text)

        return Hashed()

    def make(self):
        from langchain_postgres import PGEngine, PGVectorStore

        engine = PGEngine.from_connection_string(url=sqlalchemy_url())
        engine.init_vectorstore_table(table_name="lang_store", vector_size=DIMENSIONS)
        self.store = PGVectorStore.create_sync(
            engine=engine, table_name="lang_store", embedding_service=self.embeddings()
        )

    def add(self, text, metadata):
        from langchain_core.documents import Document

        self.store.add_documents([Document(page_content=text, metadata=metadata)])

    def nearest(self, text):
        return self.store.similarity_search(text, k=1)[0].page_content


class LangChainLegacy(LangChain):
    """LangChain's older `PGVector`: all collections in one table, the column without dimensions."""

    table, collection, recognised = "langchain_pg_embedding", "wild_things", "LangChain `PGVector`"
    dimensions = True

    def make(self):
        from langchain_core.documents import Document
        from langchain_postgres import PGVector

        def store(name):
            return PGVector(
                embeddings=self.embeddings(), collection_name=name, connection=sqlalchemy_url(), use_jsonb=True
            )

        self.store = store("wild things")
        # Nearer than anything, and of another collection.
        store("others").add_documents([Document(page_content=text, metadata=TEXTS[text]) for text in TEXTS])


class Vecs(Library):
    """Supabase's `vecs`, which stores no text."""

    table, collection, recognised = "vecs.animals", "animals", "Supabase `vecs`"

    def make(self):
        import vecs

        scheme, rest = URL.split("://", 1)
        self.client = vecs.create_client(f"postgresql://{rest}")
        self.docs = self.client.get_or_create_collection(name="animals", dimension=DIMENSIONS)

    def add(self, text, metadata):
        self.docs.upsert(records=[(text, embed(text), metadata)])

    def nearest(self, text):
        return self.docs.query(data=embed(text), limit=1)[0]

    def shown(self, hit):
        return hit["id"]


class LlamaIndex(Library):
    """LlamaIndex's `PGVectorStore`."""

    table, collection, recognised = "data_llama", "data_llama", "LlamaIndex `PGVectorStore`"

    def make(self):
        from llama_index.vector_stores.postgres import PGVectorStore

        scheme, rest = URL.split("://", 1)
        self.store = PGVectorStore.from_params(
            connection_string=f"postgresql+psycopg2://{rest}",
            async_connection_string=f"postgresql+asyncpg://{rest}",
            table_name="llama",
            embed_dim=DIMENSIONS,
        )

    def add(self, text, metadata):
        from llama_index.core.schema import TextNode

        self.store.add([TextNode(text=text, metadata=metadata, embedding=embed(text))])

    def nearest(self, text):
        from llama_index.core.vector_stores.types import VectorStoreQuery

        found = self.store.query(VectorStoreQuery(query_embedding=embed(text), similarity_top_k=1))
        return found.nodes[0].get_content()


class Haystack(Library):
    """Haystack's `PgvectorDocumentStore`."""

    table, collection, recognised = "haystack_docs", "haystack_docs", "Haystack `PgvectorDocumentStore`"

    def make(self):
        from haystack.utils import Secret
        from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

        self.store = PgvectorDocumentStore(
            connection_string=Secret.from_token(URL), table_name="haystack_docs", embedding_dimension=DIMENSIONS
        )
        self.store.count_documents()

    def add(self, text, metadata):
        from haystack import Document

        self.store.write_documents([Document(content=text, meta=metadata, embedding=embed(text))])

    def nearest(self, text):
        from haystack_integrations.components.retrievers.pgvector import PgvectorEmbeddingRetriever

        retriever = PgvectorEmbeddingRetriever(document_store=self.store, top_k=1)
        return retriever.run(query_embedding=embed(text))["documents"][0].content


LIBRARIES = {
    "pgvector": Plain,
    "sqlalchemy": SqlAlchemy,
    "django": Django,
    "langchain": LangChain,
    "langchain-legacy": LangChainLegacy,
    "vecs": Vecs,
    "llama-index": LlamaIndex,
    "haystack": Haystack,
}


def story(library):
    library.make()
    for text, metadata in TEXTS.items():
        library.add(text, metadata)
    # By its address, as somebody without a declaration asks.
    proposed = json.loads(howdah("adopt", URL, "--table", library.table, "-o", "json"))["collections"]
    mine = next(one for one in proposed if one["collection"] == library.collection)
    assert mine.get("library") == library.recognised, mine
    assert (mine["metric"], mine["dimensions"]) == (library.metric, DIMENSIONS), mine
    howdah("adopt", "--table", library.table, "--write", "-q")
    again = subprocess.run([HOWDAH, "adopt", "--table", library.table, "--write"], capture_output=True, text=True)
    assert again.returncode == 6, f"a second block was written: {again.stdout}"
    howdah("apply")
    howdah("plan", "--check")

    collection = library.collection
    for text in TEXTS:
        found = search(collection, text)
        assert library.shown(found[0]) == text and len(found) == len(TEXTS), found
    wild = search(collection, "cats", "--where", library.where)
    assert sorted(library.shown(hit) for hit in wild) == ["crows", "wolves"], wild
    assert library.nearest("wolves") == "wolves"

    library.add("owls", {"kind": "wild", "legs": 2})
    assert library.shown(search(collection, "owls")[0]) == "owls"
    assert library.nearest("owls") == "owls"
    indexes = json.loads(howdah("collections", "show", collection, "-o", "json"))
    assert indexes.get("index"), indexes


failed = 0
for name in NAMES or LIBRARIES:
    begin = time.monotonic()
    try:
        story(LIBRARIES[name]())
    except Exception as error:  # noqa: BLE001 - every library is tried
        failed += 1
        print(f"adopt: {name} FAILED: {type(error).__name__}: {error}", flush=True)
    else:
        print(f"adopt: {name} ok ({time.monotonic() - begin:.1f} s)", flush=True)
sys.exit(1 if failed else 0)
