-- Sample data for compose.yaml: 200,000 rows to move.
CREATE DATABASE IF NOT EXISTS shop_copy;
USE shop;
CREATE TABLE customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(60) NOT NULL, born DATE);
CREATE TABLE orders (id BIGINT PRIMARY KEY, customer INT NOT NULL, total DECIMAL(12,2) NOT NULL,
  placed DATETIME NOT NULL, KEY by_time (placed), FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO customers SELECT seq, CONCAT('customer ', seq), DATE '1950-01-01' + INTERVAL seq DAY FROM seq_1_to_1000;
INSERT INTO orders SELECT seq, 1 + seq % 1000, seq / 7, TIMESTAMP '2020-01-01 00:00:00' + INTERVAL seq MINUTE
  FROM seq_1_to_200000;
