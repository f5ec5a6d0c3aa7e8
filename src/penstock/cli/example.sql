-- A small shop. Each series is counted up by a recursive query, so the file stays short and the rows are always the same.
CREATE TABLE customers (
    customer_id INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    email       TEXT NOT NULL,
    country     TEXT NOT NULL
);
CREATE TABLE products (
    product_id  INTEGER PRIMARY KEY,
    title       TEXT NOT NULL,
    price_cents INTEGER NOT NULL
);
CREATE TABLE orders (
    order_id    INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers,
    product_id  INTEGER NOT NULL REFERENCES products,
    quantity    INTEGER NOT NULL,
    note        TEXT,
    updated_at  TIMESTAMP NOT NULL
);
CREATE TABLE audit_log (line TEXT NOT NULL);

INSERT INTO customers
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
SELECT i, 'Customer ' || i, 'customer' || i || '@example.com',
       CASE i % 5 WHEN 0 THEN 'Denmark' WHEN 1 THEN 'France' WHEN 2 THEN 'Ghana' WHEN 3 THEN 'Japan' ELSE 'Peru' END
FROM n;

INSERT INTO products
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25)
SELECT i, 'Product ' || char(64 + i), 100 + 37 * i FROM n;

INSERT INTO orders
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
SELECT i, 1 + (i * 7919) % 200, 1 + (i * 104729) % 25, 1 + i % 4, CASE WHEN i % 10 = 0 THEN 'gift' END,
       strftime('%Y-%m-%d %H:%M:%S', '2026-01-01', (i * 613) || ' seconds')
FROM n;

INSERT INTO audit_log VALUES ('the shop opened');
