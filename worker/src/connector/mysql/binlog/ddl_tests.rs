//! Statements as servers log them.
