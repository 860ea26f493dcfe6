//! Admits pods: rewrites images, forces imagePullPolicy: Always.
