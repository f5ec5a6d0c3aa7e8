-- The shop that pages about PostgreSQL copy: always the same rows.
CREATE TABLE customers (
    customer_id integer PRIMARY KEY,
    name        text NOT NULL,
    email       text NOT NULL,
    phone       text,
    country     varchar(20) NOT NULL
);
CREATE TABLE products (
    product_id integer PRIMARY KEY,
    title      text NOT NULL,
    price      numeric(10, 2) NOT NULL,
    attributes jsonb
);
CREATE TABLE orders (
    order_id    bigint PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    product_id  integer NOT NULL REFERENCES products,
    quantity    smallint NOT NULL,
    status      text NOT NULL,
    note        text,
    updated_at  timestamptz NOT NULL
);
CREATE TABLE audit_log (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line text NOT NULL
);
INSERT INTO customers
SELECT i, 'Customer ' || i, 'customer' || i || '@example.com', CASE WHEN i % 3 = 0 THEN '+45' || (10000000 + i) END,
       (ARRAY['Denmark', 'France', 'Ghana', 'Japan', 'Peru'])[1 + i % 5]
FROM generate_series(1, 2000) AS s (i);
INSERT INTO products SELECT i, 'Product ' || i, 1 + 37 * i / 100.0, jsonb_build_object('weight_g', i * 11)
FROM generate_series(1, 50) AS s (i);
INSERT INTO orders
SELECT i, 1 + (i * 7919::bigint) % 2000, 1 + (i * 104729::bigint) % 50, 1 + i % 4,
       (ARRAY['draft', 'open', 'paid', 'sent'])[1 + i % 4], CASE WHEN i % 10 = 0 THEN 'please ring twice' END,
       timestamptz '2026-01-01 00:00:00+00' + i * interval '13 seconds'
FROM generate_series(1, 100000) AS s (i);
INSERT INTO audit_log (line) SELECT 'line ' || i FROM generate_series(1, 100) AS s (i);
CREATE SCHEMA hr;
CREATE TABLE hr.salaries (person text PRIMARY KEY, amount numeric NOT NULL);
INSERT INTO hr.salaries VALUES ('Ada', 100.10), ('Grace', 200.20);
ANALYZE;
